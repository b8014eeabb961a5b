#!/usr/bin/env bash
# tools/setup.sh with a cache folder that is the user's own, beside programs that only pretend: what
# it did not put there stays.
set -euo pipefail
setup="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools/setup.sh")"
source "$(dirname "${BASH_SOURCE[0]}")/pretence.sh"
mkdir -p "$folder"/{bin,scratch}
for name in ninja ccache mold apt-get; do pretend "$folder/bin/$name" < /dev/null; done
pretend "$folder/bin/g++" <<< 'echo 12.2.0'
pretend "$folder/bin/cmake" <<< 'echo "cmake version $PRETEND_CMAKE"'
pretend "$folder/bin/dpkg-query" <<< 'for name in "${@:4}"; do echo "installed $name"; done'
pretend "$folder/bin/sha256sum" < /dev/null # every wheel is the right one
pretend "$folder/bin/uname" <<< 'echo x86_64'
pretend "$folder/bin/python3" <<'PROGRAM'
[[ $3 == download ]] || exit 0
[[ -z ${PRETEND_FAILURE:-} || ${*: -1} != "$PRETEND_FAILURE"* ]] || exit 1
echo "${*: -1}" >> "$DONE"
while [[ $1 != --dest ]]; do shift; done
touch "$2/a.whl"
PROGRAM
pretend "$folder/bin/unzip" <<'PROGRAM'
while [[ $1 != -d ]]; do shift; done
mkdir -p "$2"/{torch/lib,cmake/data/bin,a.dist-info/licenses,cutlass_library/source/include/cutlass}
touch "$2"/torch/lib/libtorch_cpu.so "$2"/cmake/data/bin/{cmake,ctest} \
  "$2"/cutlass_library/source/include/cutlass/cutlass.h
PROGRAM
scratch="$folder/scratch"
export SWITCHYARD_CACHE="$scratch" SWITCHYARD_CUDA=OFF DONE="$folder/done" PATH="$folder/bin:$PATH"
export PRETEND_CMAKE=3.22.1
unset CXX PRETEND_FAILURE
set_up() {
  : > "$DONE"
  "$setup" --cutlass > "$folder/said" 2>&1
}
mine() { # PATH...: files that the user has there
  local path
  for path in "$@"; do
    mkdir -p "$(dirname "$scratch/$path")"
    echo mine > "$scratch/$path"
  done
}
torch=libtorch-$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "${setup%/*}/libtorch_wheels.txt")-cpu
cmake=cmake-$(sed -n 's/^readonly cmake_version=//p' "$setup")
cutlass=cutlass-$(sed -n 's/^readonly cutlass_version=//p' "$setup")

# What was fetched before an interruption is not fetched again.
mine downloads/mine partial/mine "$torch.partial/mine" "$cmake.partial/mine" "$cutlass.partial/mine" \
  setup.lock
if PRETEND_FAILURE=nvidia-cuda-cupti set_up; then fail "a download that fails is no error"; fi
grep -q '^torch==' "$DONE" || fail "nothing was fetched"
set_up || fail "does not go on"
! grep -q '^torch==' "$DONE" || fail "what was there was fetched again"
[[ -e $scratch/$torch/torch/lib/libtorch_cpu.so && -x $scratch/bin/cmake && -x $scratch/bin/ctest &&
  -e $scratch/$cutlass/include/cutlass/cutlass.h ]] || fail "not whole"
[[ $(find "$scratch" -type f -exec grep -lx mine {} + | wc -l) == 6 ]] || fail "files of the user are gone"
[[ -z $(find "$scratch" -maxdepth 1 -name 'switchyard-*') ]] || fail "downloads are left"
set_up || fail "does not run again"
[[ ! -s $DONE ]] || fail "a second run fetches"

# A name that is taken: refused, whatever is in it.
for name in "$torch" "$cmake" "$cutlass" bin/cmake; do
  rm -rf "${scratch:?}/$name"
  mine "$name$([[ $name == bin/cmake ]] || echo /mine)"
  if set_up; then fail "$name was not refused"; fi
  grep -qF "'$scratch/$name' is there" "$folder/said" || fail "another reason than $name"
  [[ -f $scratch/$name || -f $scratch/$name/mine ]] && grep -qrx mine "$scratch/$name" || fail "$name was replaced"
  [[ ! -s $DONE ]] || fail "$name was refused too late"
  rm -rf "${scratch:?}/$name"
  set_up || fail "does not run once $name is moved away"
done
