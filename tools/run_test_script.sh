#!/usr/bin/env bash
# Runs one test script for ctest and records it as one test case, beside the gtest binaries'
# results. Exit status 77 of the script means skipped.
#   tools/run_test_script.sh RESULT.json SCRIPT [ARGUMENT...]
set -uo pipefail
result=$1
shift
mkdir -p "$(dirname "$result")"
bash "$@"
status=$?
case $status in
  0) failures=0 word=COMPLETED ;;
  77) failures=0 word=SKIPPED status=0 ;;
  *) failures=1 word=COMPLETED ;;
esac
printf '{\n  "tests": 1,\n  "failures": %d,\n  "disabled": 0,\n  "result": "%s"\n}\n' \
  "$failures" "$word" > "$result"
exit $status
