#!/usr/bin/env bash
# tools/gpu_check.sh beside programs that only pretend: what it counts as failed, and what it refuses.
set -euo pipefail
script="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools/gpu_check.sh")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"/build/{tests,data}
cat > "$folder/build/switchyard" <<'PROGRAM'
#!/bin/sh
echo "did $1"
[ "$1" != "$PRETEND_FAILURE" ] || exit 70
PROGRAM
cat > "$folder/build/tests/pretended_cuda_test" <<'PROGRAM'
#!/bin/sh
if [ "$1" = --gtest_list_tests ]; then
  printf 'Running main() from gmock_main.cc\n'
  printf 'Passes.\n  One\nAll/SkipsOne.\n  One\nSkips/0.  # TypeParam = float\n  One\nFails.\n  One\n'
  exit
fi
case $2 in
  *=Passes*) echo '[  PASSED  ] 1 test.' ;;
  *=All/SkipsOne*) printf 'a.cpp:1: Skipped\nnot for causal models\n[  SKIPPED ] 1 test.\n' ;;
  *=Skips*) printf 'a.cpp:1: Skipped\nno GPU\n[  SKIPPED ] 1 test.\n' ;;
  *) echo '[  FAILED  ] Fails.One' && exit 1 ;;
esac
PROGRAM
cp "$folder/build/switchyard" "$folder/build/switchyard-engine"
chmod +x "$folder"/build/{switchyard,switchyard-engine,tests/pretended_cuda_test}

answers() { # STATUS TEXT ARGUMENT...
  local status=$1 text=$2 got=0
  shift 2
  "$script" --out "$folder/out" "$@" > "$folder/said" 2>&1 || got=$?
  [[ $got == "$status" ]] && grep -qF -- "$text" "$folder/said" && return
  echo "gpu_check.sh $*: status $got, expected $status and '$text'" >&2
  cat "$folder/said" >&2
  exit 1
}

answers 0 "tools/gpu_check.sh [PART...]" --help
answers 2 "tools/gpu_check.sh [PART...]" everything
answers 2 "tools/gpu_check.sh [PART...]" --build
answers 2 "tools/gpu_check.sh [PART...]" --fast quick
answers 2 "tools/gpu_check.sh [PART...]" pack
answers 2 "tools/gpu_check.sh [PART...]" pack a.tgz b.tgz
answers 2 "$folder/none/switchyard is missing" quick --build "$folder/none"

# A test that sees no GPU is no success here; one that has nothing to do with it may be skipped.
answers 1 "4 suites; failed: pretended_cuda_test:Skips/0. pretended_cuda_test:Fails." \
  tests --build "$folder/build"

export PRETEND_FAILURE=
answers 0 "generate" quick --build "$folder/build" --device cpu
export PRETEND_FAILURE=resume
answers 1 "resume                   rc 70" quick --build "$folder/build" --device cpu

# A folder of somebody else's is left alone, whatever its files are called; an earlier call's is not.
rmdir "$folder/build/data" # so that a text is prepared in --out
mkdir -p "$folder"/mine/{data,runs/train_top_p}
touch "$folder"/mine/{summary.txt,data/mine,runs/train_top_p/mine}
refused() {
  local got=0
  (cd "$folder/mine" && "$script" quick --build "$folder/build" --device cpu --out "$1") \
    > "$folder/said" 2>&1 || got=$?
  [[ $got == 2 ]] && grep -qF "name a new folder with --out" "$folder/said" && return
  echo "--out $1 was not refused: status $got" >&2
  exit 1
}
before=$(find "$folder/mine" -printf '%p %s\n')
refused .
refused "$folder/mine"
refused summary.txt
[[ $(find "$folder/mine" -printf '%p %s\n') == "$before" ]] || { echo "a refusal changes files" >&2; exit 1; }
export PRETEND_FAILURE=
mkdir -p "$folder/out/data" && touch "$folder/out/data/old"
answers 0 "generate" quick --build "$folder/build" --device cpu
[[ ! -e $folder/out/data/old ]] || { echo "its own data was not prepared anew" >&2; exit 1; }
