#!/usr/bin/env bash
# tools/check_platform.sh takes no folder that it did not make, in which it would replace checkouts.
# Nothing is mounted or installed: the programs only pretend. Skipped for others than root.
set -euo pipefail
[[ $EUID -eq 0 && -e /etc/ssl/certs/ca-certificates.crt ]] || exit 77
script="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools/check_platform.sh")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "$*" >&2
  cat "$folder/said" >&2
  exit 1
}
mkdir -p "$folder/bin" "$folder/cache"
for name in unshare debootstrap mount chroot git chown; do
  printf '#!/bin/sh\necho %s >> "%s/done"\n' "$name" "$folder" > "$folder/bin/$name"
  chmod +x "$folder/bin/$name"
done
printf '#!/bin/sh\nmkdir -p "$5/etc/ssl/certs" && touch "$5/etc/debian_version"\n' > "$folder/bin/debootstrap"
export PATH="$folder/bin:$PATH" SWITCHYARD_CACHE="$folder/cache" SWITCHYARD_IN_NAMESPACE=yes
platform() { # FOLDER
  : > "$folder/done"
  "$script" trixie --folder "$1" --as root --only test > "$folder/said" 2>&1
}

mkdir -p "$folder"/mine/{etc/ssl/certs,root/switchyard}
touch "$folder"/mine/{etc/debian_version,root/switchyard/mine}
if platform "$folder/mine"; then fail "a system of somebody else's was taken"; fi
grep -qF "'$folder/mine' has no mark of this script" "$folder/said" || fail "another reason"
[[ -e $folder/mine/root/switchyard/mine && ! -s $folder/done ]] || fail "a refusal changes something"

platform "$folder/new" || fail "no new folder is made"
mkdir -p "$folder/new/root/switchyard"
platform "$folder/new" || fail "its own folder is refused"
grep -qx git "$folder/done" || fail "nothing was cloned"
[[ ! -e $folder/new/root/switchyard ]] || fail "the checkout was not replaced"
