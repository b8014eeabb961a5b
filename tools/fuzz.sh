#!/usr/bin/env bash
# Fuzzes every reader of untrusted bytes: builds the targets (tests/fuzz, libFuzzer with the address
# and undefined-behaviour sanitizers), writes their seeds, runs each for a while, and prints a table.
#
#   tools/fuzz.sh [SECONDS_PER_TARGET] [TARGET...]      default: 60 seconds, all targets
#
# Needs clang with its sanitizer runtime (Debian: clang libclang-rt-14-dev). The exit status is 1
# when anything was found; build/fuzz/findings/TARGET then holds the input, and
#   build/fuzz/tests/fuzz/TARGET_fuzz FILE
# shows it again. What was learned stays in build/fuzz/corpus for the next run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
  seconds=$1
  shift
elif [[ ${1:-} == -* ]]; then
  sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"
  exit 0
fi
command -v clang++ > /dev/null || {
  echo "fuzz: error: clang++ is missing (Debian packages clang and libclang-rt-14-dev)" >&2
  exit 2
}
# A run of 0 seconds has no limit for libFuzzer.
((seconds > 0)) || { echo "fuzz: error: give at least one second per target" >&2; exit 2; }

folder="$repository/build/fuzz"
build fuzz fuzz
rm -rf "$folder/seeds"
"$folder/tests/fuzz/make_seeds" "$folder/seeds"

targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
  for source in "$repository"/tests/fuzz/*_fuzz.cpp; do
    target=$(basename "$source" _fuzz.cpp)
    targets+=("$target")
  done
fi

# Largest input: about twice the largest seed, so that mutations still move it fast.
largest_input() { # target
  case $1 in
    config | tokenizer) echo 16384 ;;
    *) echo 4096 ;;
  esac
}

export ASAN_OPTIONS="quarantine_size_mb=32:detect_leaks=1"
export UBSAN_OPTIONS="print_stacktrace=1"
found=0
table=$(printf '%-18s %12s %10s %10s' target executions coverage findings)
for target in "${targets[@]}"; do
  program="$folder/tests/fuzz/${target}_fuzz"
  [[ -x $program ]] || { echo "fuzz: error: there is no target '$target'" >&2; exit 2; }
  corpus="$folder/corpus/$target" findings="$folder/findings/$target" log="$folder/$target.log"
  rm -rf "$findings"
  mkdir -p "$corpus" "$findings"
  words=()
  [[ ! -f $folder/seeds/$target.dict ]] || words=(-dict="$folder/seeds/$target.dict")
  # Inputs are small: a reader that wants 64 MB for one, or 25 seconds (on a busy machine), is a finding.
  status=0
  "$program" -max_total_time="$seconds" -max_len="$(largest_input "$target")" -timeout=25 \
    -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 -artifact_prefix="$findings/" \
    "${words[@]}" "$corpus" "$folder/seeds/$target" > "$log" 2>&1 < /dev/null || status=$?
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  count=$(find "$findings" -type f ! -name 'slow-unit-*' | wc -l)
  if [[ $status -ne 0 ]]; then
    ((count > 0)) || count=1
    found=1
    grep -aE 'ERROR|violated|runtime error|SUMMARY' "$log" | head -n 5 >&2 || true
    echo "fuzz: $target: see $log and $findings" >&2
  fi
  table+=$(printf '\n%-18s %12s %10s %10s' "$target" "${executions:-0}" "${coverage:-0}" "$count")
done
echo "$table"
exit "$found"
