#!/usr/bin/env bash
# tools/bundle.sh: a folder that runs without anything of this machine but the C library, and what it
# refuses. Links stand for copies, which would be gigabytes.
#   bundle_test.sh BUILD_FOLDER
set -euo pipefail
build=$(realpath "$1")
bundle="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools/bundle.sh")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "$*" >&2
  exit 1
}

# A slash at the end is not part of the name, and a folder beside the new one is somebody's.
mkdir -p "$folder/pretended" "$folder/slash.partial"
touch "$folder/slash.partial/mine"
for program in switchyard switchyard-engine; do cp /bin/true "$folder/pretended/$program"; done
(umask 022 && cd "$folder" && "$bundle" slash// --link --build "$folder/pretended") > /dev/null
[[ -x $folder/slash/switchyard && -x $folder/slash/bin/switchyard ]] || fail "no bundle for 'slash//'"
[[ $(stat -c %a "$folder/slash") == 755 ]] || fail "the bundle is not for others"
[[ -e $folder/slash.partial/mine ]] || fail "a folder that is not of bundle.sh was removed"
[[ $(find "$folder" -mindepth 1 -maxdepth 1 | wc -l) == 3 ]] || fail "something is left: $(ls "$folder")"

[[ -x $build/switchyard-engine ]] || exit 77 # built without LibTorch
"$bundle" "$folder/it's here" --link --build "$build"
command="$folder/it's here/switchyard"
cd / # the command is found from anywhere, through a link too
ln -s "$command" "$folder/link"
env -i "$folder/link" --version | grep -q '^switchyard ' || fail "no version"
env -i HOME=/ OMP_NUM_THREADS=1 "$command" doctor > "$folder/doctor.txt" || [[ $? -le 78 ]] ||
  fail "doctor does not run"
grep -qi libtorch "$folder/doctor.txt" || fail "doctor says nothing of LibTorch"
# Everything that is loaded comes along, or is the C library or the driver.
strays=$(env -i LD_LIBRARY_PATH="$folder/it's here/lib" ldd "$folder/it's here/bin/switchyard-engine" |
  awk -F ' => ' 'NF == 2 { sub(/ \(0x[0-9a-f]*\)$/, "", $2); print $2 }' |
  grep -vF "$folder" | grep -vE '/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv|cuda|nvidia-[^/]*))\.so' || true)
[[ -z $strays ]] || fail "not in the folder: $strays"

refused() { # REASON ARGUMENT...
  local reason=$1
  shift
  if "$bundle" "$@" > /dev/null 2> "$folder/errors"; then fail "was not refused: $reason"; fi
  grep -qF -- "$reason" "$folder/errors" || fail "expected: $reason; got: $(cat "$folder/errors")"
}
refused "is there already" "$folder/it's here" --build "$build"
refused "which folder?"
refused "unknown flag '--copy'" "$folder/new" --copy
refused "is missing: build first" "$folder/new" --build "$folder"
ln -s nowhere "$folder/link away"
refused "is there already" "$folder/link away" --build "$build"
[[ -z $(find "$folder" -maxdepth 1 -name 'new*') ]] || fail "a refusal leaves something behind"
