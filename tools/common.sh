# Sourced by the scripts in tools/ and by .ci/run: where things are, building, counting tests.
export HOME="${HOME:-$(echo ~)}" # a bare environment has none
unset CDPATH
PATH="${SWITCHYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard}/bin:$PATH" # tools/setup.sh
if [[ -z ${CXX:-} && -x ${PATH%%:*}/g++ ]]; then
  export NVCC_CCBIN="${NVCC_CCBIN:-${PATH%%:*}/g++}" # the same for nvcc
fi
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Compiler jobs: one per core, but a unit with LibTorch headers needs up to 1.5 GB.
build_jobs() {
  local cores memory_kib by_memory
  cores=$(nproc)
  memory_kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  by_memory=$((${memory_kib:-0} / 1572864))
  ((by_memory >= 1)) || by_memory=1
  echo $((cores < by_memory ? cores : by_memory))
}

# configure PRESET [ARGUMENT...]: SWITCHYARD_CUDA (AUTO, ON, OFF) and SWITCHYARD_WERROR (ON, OFF) in
# the environment are passed on.
configure() {
  (cd "$repository" && cmake --preset "$1" \
    ${SWITCHYARD_CUDA:+-DSWITCHYARD_CUDA="$SWITCHYARD_CUDA"} \
    ${SWITCHYARD_WERROR:+-DSWITCHYARD_WERROR="$SWITCHYARD_WERROR"} "${@:2}")
}

# build PRESET [TARGET...]: configures build/PRESET and builds.
build() {
  local preset=$1 folder="$repository/build/$1"
  shift
  mkdir -p "$folder"
  configure "$preset" > "$folder/configure.log" 2>&1 || {
    cat "$folder/configure.log" >&2
    return 1
  }
  cmake --build "$folder" --parallel "$(build_jobs)" ${1:+--target "$@"}
}

# run_tests BUILD_FOLDER: every ctest entry; its status is ctest's.
run_tests() {
  local results="$1/test_results"
  rm -rf "$results"
  mkdir -p "$results"
  ctest --test-dir "$1" --output-on-failure --no-tests=error \
    --output-junit "$(realpath "$results")/ctest.xml"
}

# print_test_counts BUILD_FOLDER: one line, "tests: 412 passed, 0 failed, 3 skipped", summed over
# the test cases of all binaries. A binary that failed without naming a failed case (it crashed, or
# leaked at exit) counts as one failure.
print_test_counts() {
  local results="$1/test_results" passed=0 failed=0 skipped=0
  local name status file tests failures disabled skips
  if [[ ! -f $results/ctest.xml ]]; then
    echo "tests: 0 passed, 0 failed, 0 skipped (they did not run)"
    return 0
  fi
  while read -r name status; do
    file="$results/$name.json"
    tests=0 failures=0 disabled=0 skips=0
    if [[ -s $file ]]; then # a number's first occurrence is the binary's total
      tests=$(sed -n 's/^ *"tests": \([0-9]*\),.*/\1/p' "$file" | head -n 1)
      failures=$(sed -n 's/^ *"failures": \([0-9]*\),.*/\1/p' "$file" | head -n 1)
      disabled=$(sed -n 's/^ *"disabled": \([0-9]*\),.*/\1/p' "$file" | head -n 1)
      skips=$(grep -c '"result": "SKIPPED"' "$file" || true)
    fi
    passed=$((passed + tests - failures - disabled - skips))
    skipped=$((skipped + disabled + skips))
    if [[ $status == run || $failures -gt 0 ]]; then
      failed=$((failed + failures))
    else
      failed=$((failed + 1))
    fi
  done < <(sed -n 's/.*<testcase name="\([^"]*\)".*status="\([^"]*\)".*/\1 \2/p' "$results/ctest.xml")
  echo "tests: $passed passed, $failed failed, $skipped skipped"
}
