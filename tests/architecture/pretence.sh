# Sourced by tests of scripts: a folder of the test's own, and programs in it that only pretend. What
# the script said belongs into $folder/said, what the programs did into $folder/done.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "$*" >&2
  cat "$folder/said" "$folder/done" >&2 || true
  exit 1
}
pretend() { # PROGRAM, what it does on standard input
  { echo '#!/usr/bin/env bash' && cat; } > "$1"
  chmod +x "$1"
}
