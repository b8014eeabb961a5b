#!/usr/bin/env bash
# Tries this checkout's last commit on another Debian or Ubuntu, as its users would: a bare system
# made by debootstrap, then the two commands of the README, first as a plain user without sudo (the
# packages are there, as an administrator would have installed them), then as root.
#
#   tools/check_platform.sh RELEASE [--folder FOLDER] [--as user|root] [--only quickstart|test]
#     RELEASE  bookworm, trixie, jammy, noble, ...
#     FOLDER   where the system goes, 15 GB (default: build/platform-RELEASE); one that this script
#              made is used again. Nothing outside of it changes.
#
# Needs root and debootstrap. Ends with one line per command: its seconds, and for tests the count.
# docs/platforms.md records what was run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

die() { printf 'check_platform: error: %s\n' "$*" >&2; exit 1; }

release='' folder='' users=(user root) commands=(quickstart test)
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --folder | --as | --only)
      [[ $# -ge 2 ]] || die "$1 needs a value"
      case $1 in
        --folder) folder=$2 ;;
        --as) users=("$2") ;;
        --only) commands=("$2") ;;
      esac
      shift 2 ;;
    -*) die "unknown option '$1' (known: --folder, --as, --only)" ;;
    *) [[ -z $release ]] || die "one release at a time"; release=$1; shift ;;
  esac
done
[[ -n $release ]] || die "which release? e.g. tools/check_platform.sh trixie"
[[ ${users[*]} =~ ^(user root|user|root)$ ]] || die "--as takes user or root"
[[ ${commands[*]} =~ ^(quickstart test|quickstart|test)$ ]] || die "--only takes quickstart or test"
[[ $EUID -eq 0 ]] || die "a system of its own takes root: sudo tools/check_platform.sh $release"
command -v debootstrap > /dev/null || die "missing: debootstrap (apt-get install debootstrap)"

# In a mount and process namespace of its own: whatever ends, no mount is left behind.
if [[ -z ${SWITCHYARD_IN_NAMESPACE:-} ]]; then
  exec env SWITCHYARD_IN_NAMESPACE=yes unshare --mount --pid --fork --kill-child "$0" "$release" \
    ${folder:+--folder "$folder"} $([[ ${#users[@]} -gt 1 ]] || echo "--as ${users[0]}") \
    $([[ ${#commands[@]} -gt 1 ]] || echo "--only ${commands[0]}")
fi

system=$(realpath -m "${folder:-$repository/build/platform-$release}")
# Checkouts in it are replaced: it is a system of this script, or nothing is in it.
ours="$system/.switchyard-platform"
[[ -e $ours || -z $(ls -A "$system" 2> /dev/null) ]] ||
  die "'$system' has no mark of this script: name a new folder with --folder (made by an earlier version? touch '$ours')"
mkdir -p "$system"
: > "$ours"
components=main
mirror=()
case $release in # Ubuntu keeps half of what is needed elsewhere
  jammy | noble | oracular | plucky | questing)
    components=main,universe
    mirror=(http://archive.ubuntu.com/ubuntu)
    # One script serves all of Ubuntu; an older debootstrap has no link to it for a newer release.
    [[ -e /usr/share/debootstrap/scripts/$release ]] ||
      mirror+=(/usr/share/debootstrap/scripts/gutsy) ;;
esac
if [[ ! -e $system/etc/debian_version ]]; then
  debootstrap --variant=minbase --components="$components" --include=ca-certificates,git,python3 \
    "$release" "$system" ${mirror[@]+"${mirror[@]}"}
fi
for place in proc dev sys; do
  mkdir -p "$system/$place"
  mount --rbind "/$place" "$system/$place"
done
mount -t proc proc "$system/proc"
# As this machine reaches the network.
for file in resolv.conf hosts pip.conf; do
  [[ ! -e /etc/$file ]] || cp -L "/etc/$file" "$system/etc/$file"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/"

inside() { # user command...
  local user=$1 home=/home/$1 variable kept=()
  shift
  [[ $user != root ]] || home=/root
  for variable in $(compgen -e); do
    [[ ! $variable =~ ^(PIP_|http|HTTP|no_proxy|NO_PROXY|SSL_|REQUESTS_) ]] ||
      kept+=("$variable=${!variable}")
  done
  chroot --userspec="$user" "$system" /usr/bin/env -i "HOME=$home" "USER=$user" LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${kept[@]}" "$@"
}

results=()
try() { # user command
  local start=$SECONDS log="$system/$1-$2.log" status=ok home=/home/$1
  [[ $1 != root ]] || home=/root
  printf '== %s: tools/%s.sh as %s (log: %s)\n' "$release" "$2" "$1" "$log"
  inside "$1" "$home/switchyard/tools/$2.sh" > "$log" 2>&1 || status="FAILED, see $log"
  results+=("$release, $1, tools/$2.sh: $status, $((SECONDS - start)) s; $(tail -n 1 "$log")")
}

chroot "$system" id -u user > /dev/null 2>&1 ||
  chroot "$system" useradd --create-home user
for user in "${users[@]}"; do
  home=/home/$user
  [[ $user != root ]] || home=/root
  rm -rf "$system$home/switchyard"
  git -c safe.directory='*' clone -q "$repository" "$system$home/switchyard"
  chown -R "$(inside "$user" id -u)" "$system$home/switchyard"
  # What tools/setup.sh names when neither root nor sudo is there, by an administrator.
  [[ $user == root ]] || inside root "$home/switchyard/tools/setup.sh" --corpus \
    > "$system/packages.log" 2>&1 || die "no packages: see $system/packages.log"
  for command in "${commands[@]}"; do try "$user" "$command"; done
done
printf '%s\n' "${results[@]}"
[[ "${results[*]}" != *FAILED* ]]
