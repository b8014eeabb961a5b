#!/usr/bin/env bash
# Where the system's g++ is too old (Ubuntu 22.04), tools/setup.sh puts a newer one where the scripts
# in tools/ find it; a compiler that the user chose stays. Skipped where nothing was set up.
set -euo pipefail
tools="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../tools" && pwd)"
cache="${SWITCHYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compgen -G "$cache/libtorch-*" > /dev/null || exit 77
mkdir -p "$folder/cache" "$folder/bin"
for entry in "$cache"/*; do # not what was put there for this system
  [[ ${entry##*/} == bin ]] || ln -s "$entry" "$folder/cache/"
done
rm -f "$folder"/cache/setup.lock "$folder"/cache/setup.log
pretend() { # NAME VERSION
  printf '#!/bin/sh\necho %s\n' "$2" > "$folder/bin/$1"
  chmod +x "$folder/bin/$1"
}
pretend g++ 11.4.0
pretend g++-12 12.3.0
export SWITCHYARD_CACHE="$folder/cache" PATH="$folder/bin:$PATH"
fail() { echo "$1" >&2; exit 1; }

CXX=clang++ "$tools/setup.sh" > /dev/null
[[ ! -e $folder/cache/bin/g++ ]] || fail "a compiler was put beside the user's own"
unset CXX
"$tools/setup.sh" > "$folder/said"
grep -q 'g++ 11.4.0 is older than 12' "$folder/said" || fail "nothing was said of the old compiler"
for name in c++ g++; do
  version=$(source "$tools/common.sh" && "$name" -dumpversion)
  [[ $version == 12.3.0 ]] || fail "$name is $version for the scripts in tools/"
done
nvcc_host=$(source "$tools/common.sh" && echo "$NVCC_CCBIN")
[[ $nvcc_host == "$folder/cache/bin/g++" ]] || fail "nvcc gets $nvcc_host"
