#!/usr/bin/env bash
# Everything that only a GPU can say, within minutes, in an order that fails early.
#
#   tools/gpu_check.sh [PART...] [--build FOLDER] [--out FOLDER] [--device cuda|cpu]
#   tools/gpu_check.sh pack FILE.tgz [--architectures LIST]
#
# PARTs (default: quick tests bench sanitize):
#   quick     doctor, some steps with every router, a resume, a generated text: does it run at all?
#   tests     every CUDA test, one process for each suite: an illegal access ends its process's GPU
#   bench     kernels, layers and steps beside LibTorch's operators and the bounds of the same run
#   sanitize  compute-sanitizer's memcheck and racecheck over the tests of kernels
# FOLDER of --build is a build with -DSWITCHYARD_CUDA=ON, for bench also
# -DSWITCHYARD_BENCHMARKS=ON (default: build/release), or where a packed FILE was unpacked. Logs,
# tables and summary.txt go to --out (default: gpu-check), a new folder, an empty one or one of an
# earlier call. The status is that of the worst part.
# --device cpu tries the script where there is no GPU; tests and sanitize then have nothing to do.
#
# pack builds for a GPU on a machine that has none and puts what the parts need into one file:
# programs without LibTorch and CUDA, which the GPU's machine must have (a PyTorch 2.11 for CUDA 13,
# or what tools/setup.sh fetches), this script, tools/bench, configs and a prepared text.
# SWITCHYARD_CUTLASS=ON in the environment adds the CUTLASS products. There:
#   tar -xzf FILE.tgz && switchyard-gpu/tools/gpu_check.sh --build switchyard-gpu/build
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit "$1"
}

build_folder="$repository/build/release"
out=gpu-check
device=cuda
architectures=90a-real
parts=()
while (($# > 0)); do
  case $1 in
    --build | --out | --device | --architectures)
      (($# > 1)) || usage 2
      case $1 in
        --build) build_folder=$(realpath -m "$2") ;;
        --out) out=$2 ;;
        --device) device=$2 ;;
        --architectures) architectures=$2 ;;
      esac
      shift ;;
    -h | --help) usage 0 ;;
    -*) usage 2 ;;
    *) parts+=("$1") ;;
  esac
  shift
done

# ---------------------------------------------------------------- pack

pack() {
  local file=$1 build="$repository/build/gpu" programs
  set -e
  configure release -B "$build" -DSWITCHYARD_CUDA=ON -DSWITCHYARD_BENCHMARKS=ON \
    -DSWITCHYARD_CUDA_ARCHITECTURES="$architectures" ${SWITCHYARD_CUTLASS:+-DSWITCHYARD_CUTLASS="$SWITCHYARD_CUTLASS"}
  cmake --build "$build" --parallel "$(build_jobs)" --target \
    switchyard switchyard-engine kernels_cuda_test train_cuda_test benchmarks
  root=$(mktemp -d) # not local: the trap runs outside
  trap 'rm -rf "$root"' EXIT
  mkdir -p "$root"/switchyard-gpu/{build/src,build/tests,build/lib}
  cp -r "$repository"/{tools,configs} "$root/switchyard-gpu/"
  cp "$build"/switchyard "$build"/switchyard-engine "$root/switchyard-gpu/build/"
  cp "$build"/tests/*_cuda_test "$root/switchyard-gpu/build/tests/"
  find "$build/src" -maxdepth 1 -name '*_benchmark' -type f -exec cp {} "$root/switchyard-gpu/build/src/" \;
  mapfile -t programs < <(find "$root/switchyard-gpu/build" -type f -perm -u+x)
  strip "${programs[@]}"
  # Debian's libraries go along; LibTorch, CUDA and the C library are the other machine's.
  ldd "${programs[@]}" | awk '/=> \// { print $3 }' | sort -u |
    grep -vE '/(libtorch|libc10|libcu|libnv|libnccl|libgomp|libstdc|libgcc|libm\.|libc\.|libdl|librt|libpthread|libutil)' |
    xargs -I{} cp -L {} "$root/switchyard-gpu/build/lib/"
  prepare_text "$build/switchyard" "$root/switchyard-gpu/build/data"
  tar -C "$root" -czf "$file" switchyard-gpu
  du -h "$file"
}

# ---------------------------------------------------------------- the parts

# prepare_text SWITCHYARD FOLDER: some hundred kilobytes of text, the repository's own.
prepare_text() {
  local text
  text=$(mktemp)
  cat "$repository"/docs/*.md "$repository"/README.md "$repository"/src/*/*.cpp > "$text" 2> /dev/null
  "$1" prepare --input "$text" --tokenizer bpe:4096 --output "$2" > /dev/null 2>&1
  local status=$?
  rm -f "$text"
  return $status
}

# LibTorch and CUDA where the programs' own search path does not lead to them.
find_libraries() {
  ldd "$switchyard-engine" | grep -q 'not found' || return
  local torch folders
  torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2> /dev/null) ||
    torch=$(ls -d "${SWITCHYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard}"/libtorch-*-cuda13/torch 2> /dev/null | tail -n 1)
  folders=$(find "$(dirname "$torch")/nvidia" -maxdepth 3 -name lib -type d 2> /dev/null | tr '\n' ':')
  export LD_LIBRARY_PATH="$build_folder/lib:$torch/lib:$folders/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}"
}

worst=0
note() { # status name seconds text
  printf '%-24s %-7s %4d s  %s\n' "$2" "$([[ $1 == 0 ]] && echo ok || echo "rc $1")" "$3" "$4" |
    tee -a "$out/summary.txt"
  ((worst = $1 > worst ? $1 : worst))
}

# step NAME SECONDS COMMAND...: its output goes to NAME.log, its last line to the summary.
step() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1
  status=$?
  note $status "$name" $((SECONDS - start)) "$(tail -n 1 "$out/$name.log" | cut -c 1-120)"
  return $status
}

train() { # NAME KEY=VALUE...
  local name=$1
  shift
  rm -rf "$out/runs/$name"
  step "$name" 120 "$switchyard" pretrain "$repository/configs/quickstart.yaml" \
    data.path="$data" run.dir="$out/runs/$name" train.device="$device" schedule.warmup_steps=5 \
    train.log_every=5 train.steps=10 "$@"
}

quick() {
  [[ $device == cpu ]] ||
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee -a "$out/summary.txt"
  step doctor 60 "$switchyard" doctor
  data="$build_folder/data"
  [[ -d $data ]] || { data="$out/data" && rm -rf "$data" && prepare_text "$switchyard" "$data"; } ||
    { note 1 prepare 0 "the text could not be prepared"; return; }
  local router
  for router in top_p top_k attention_importance; do
    train "train_$router" model.moe.router.type=$router train.checkpoint_every=10
  done
  train "train_fp32" train.precision=fp32 train.steps=5
  train "train_recompute" train.recompute=true
  step resume 120 "$switchyard" resume "$out/runs/train_top_p" train.steps=15
  step generate 60 "$switchyard" generate "$out/runs/train_top_p" --prompt "A kernel" \
    --max-tokens 40 --device "$device"
}

tests() {
  local program name suite start=$SECONDS failed=() total=0
  if [[ $device == cpu ]]; then echo "tests: nothing to do without a GPU"; return; fi
  for program in "$build_folder"/tests/*_cuda_test; do
    name=$(basename "$program")
    while read -r suite; do
      ((++total))
      # Skipped for want of a GPU: here that is a failure.
      timeout -k 5 180 "$program" --gtest_brief=1 --gtest_filter="$suite*" \
        > "$out/$name.${suite//\//_}log" 2>&1 &&
        ! grep -q 'no GPU' "$out/$name.${suite//\//_}log" && continue
      failed+=("$name:$suite")
      grep -aE 'FAILED|no GPU|Failure|rror|Expected|actual' "$out/$name.${suite//\//_}log" | head -n 6
    done < <("$program" --gtest_list_tests | sed -nE 's|^([A-Za-z0-9_/]+\.)( .*)?$|\1|p')
  done
  note ${#failed[@]} tests $((SECONDS - start)) "$total suites; failed: ${failed[*]:-none}"
}

bench() {
  local shapes=(--shape "${SWITCHYARD_BENCH_SHAPES:-A32768}" --steps "${SWITCHYARD_BENCH_STEPS:-A}")
  [[ $device == cpu ]] && shapes=(--shape small)
  step bench 400 python3 "$repository/tools/bench/moe.py" "$out/bench" --build "$build_folder" \
    --device "$device" --repetitions 3 --seconds 0.05 "${shapes[@]}"
  [[ ! -f $out/bench.md ]] || cat "$out/bench.md"
}

sanitize() {
  local tool
  if [[ $device == cpu ]]; then echo "sanitize: nothing to do without a GPU"; return; fi
  PATH="$PATH:/usr/local/cuda/bin"
  for tool in memcheck racecheck; do
    step $tool 240 compute-sanitizer --tool $tool --error-exitcode 9 \
      "$build_folder/tests/kernels_cuda_test" --gtest_brief=1
  done
}

if [[ ${parts[0]:-} == pack ]]; then
  ((${#parts[@]} == 2)) || usage 2
  pack "$(realpath -m "${parts[1]}")"
  exit
fi
((${#parts[@]} > 0)) || parts=(quick tests bench sanitize)
for part in "${parts[@]}"; do
  [[ $part =~ ^(quick|tests|bench|sanitize)$ ]] || usage 2
done
switchyard="$build_folder/switchyard"
if [[ ! -x $switchyard || ! -x $switchyard-engine ]]; then
  echo "$switchyard is missing: build it, or say where it is with --build" >&2
  exit 2
fi
# Runs and data in it are replaced: it is a folder of this script, or nothing is in it.
readonly ours=.switchyard-gpu-check
if [[ ! -e $out/$ours && -n $(ls -A "$out" 2> /dev/null) ]]; then
  echo "$out holds files but no mark of this script: name a new folder with --out" \
    "(made by an earlier version? touch $out/$ours)" >&2
  exit 2
fi
mkdir -p "$out" && out=$(realpath "$out") && : > "$out/$ours" || exit 2
: > "$out/summary.txt"
find_libraries
for part in "${parts[@]}"; do "$part"; done
echo
cat "$out/summary.txt"
exit $((worst > 0))
