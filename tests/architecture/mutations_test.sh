#!/usr/bin/env bash
# The mistakes of tools/mutations.txt still fit the code, and a list that does not is refused with
# the reason. Skipped where there is no Python 3.10.
set -euo pipefail
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || exit 77
mutate="$(dirname "${BASH_SOURCE[0]}")/../../tools/mutate.py"
python3 "$mutate" --check

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
refused() { # REASON, with the list on standard input
  cat > "$folder/list.txt"
  if python3 "$mutate" --check --file "$folder/list.txt" 2> "$folder/errors"; then
    echo "was not refused: $1" >&2
    exit 1
  fi
  grep -qF -- "$1" "$folder/errors" || {
    echo "expected: $1" >&2
    cat "$folder/errors" >&2
    exit 1
  }
}

refused "is 0 times in src/core/parallel.cpp" <<'LIST'
a-mistake src/core/parallel.cpp
- this text is not there
+ nor this
LIST
refused "times in src/core/parallel.cpp, expected once: #include" <<'LIST'
a-mistake src/core/parallel.cpp
- #include
+ #import
LIST
refused "there is no src/core/nothing.cpp" <<'LIST'
a-mistake src/core/nothing.cpp
- a
LIST
refused "changes nothing" <<'LIST'
a-mistake src/core/parallel.cpp
- if (n <= 0) return;
+ if (n <= 0) return;
LIST
refused "list.txt:2: expected '-', '+', 'test' or 'equivalent'" <<'LIST'
a-mistake src/core/parallel.cpp
if (n <= 0) return;
LIST
