#!/usr/bin/env bash
# Sets up, builds and runs every test. The last line is the count, e.g.
#   tests: 412 passed, 0 failed, 3 skipped
# The exit status is not 0 when a test fails or the build does.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$repository/tools/setup.sh"
build release
status=0
run_tests "$repository/build/release" || status=$?
print_test_counts "$repository/build/release"
exit "$status"
