#!/usr/bin/env bash
# tools/check_platform.sh takes no folder that it did not make, in which it would replace checkouts.
# Nothing is mounted or installed: the programs only pretend. Skipped for others than root.
set -euo pipefail
[[ $EUID -eq 0 && -e /etc/ssl/certs/ca-certificates.crt ]] || exit 77
script="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools/check_platform.sh")"
source "$(dirname "${BASH_SOURCE[0]}")/pretence.sh"
mkdir -p "$folder/bin" "$folder/cache"
for name in unshare debootstrap mount chroot git chown; do
  pretend "$folder/bin/$name" <<< "echo $name >> '$folder/done'"
done
pretend "$folder/bin/debootstrap" <<< 'mkdir -p "$5/etc/ssl/certs" && touch "$5/etc/debian_version"'
checkout=root/switchyard # in the system
export PATH="$folder/bin:$PATH" SWITCHYARD_CACHE="$folder/cache" SWITCHYARD_IN_NAMESPACE=yes
platform() { # FOLDER
  : > "$folder/done"
  "$script" trixie --folder "$1" --as root --only test > "$folder/said" 2>&1
}

mkdir -p "$folder"/mine/{etc/ssl/certs,$checkout}
touch "$folder"/mine/{etc/debian_version,$checkout/mine}
if platform "$folder/mine"; then fail "a system of somebody else's was taken"; fi
grep -qF "'$folder/mine' has no mark of this script" "$folder/said" || fail "another reason"
[[ -e $folder/mine/$checkout/mine && ! -s $folder/done ]] || fail "a refusal changes something"

platform "$folder/new" || fail "no new folder is made"
mkdir -p "$folder/new/$checkout"
platform "$folder/new" || fail "its own folder is refused"
grep -qx git "$folder/done" || fail "nothing was cloned"
[[ ! -e $folder/new/$checkout ]] || fail "the checkout was not replaced"
