#!/usr/bin/env bash
# Gathers the built program with all libraries that it needs in one folder, which then runs on
# machines that have nothing of it: no root, no package manager, no internet, no LibTorch, no CUDA
# Toolkit. What such a machine brings is the C library (as old as this one's at least) and, for
# GPUs, NVIDIA's driver.
#
#   tools/bundle.sh FOLDER [--link] [--build FOLDER]
#     --link    links instead of copies: for a look at what goes along
#     --build   where the programs are (default: build/release)
#
# FOLDER/switchyard is the command. Copy the folder as it is (rsync -a), or see docs/parallel.md for
# a container.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say() { printf 'bundle: %s\n' "$*"; }
die() { printf 'bundle: error: %s\n' "$*" >&2; exit 2; }

target='' build="$repository/build/release" copy=(cp -L)
while (($# > 0)); do
  case $1 in
    --link) copy=(ln -sr) ;;
    --build)
      (($# > 1)) || die "--build: which folder?"
      build=$2
      shift ;;
    -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) die "unknown flag '$1' (known: --link, --build)" ;;
    *)
      [[ -z $target ]] || die "one folder, got '$target' and '$1'"
      target=$1 ;;
  esac
  shift
done
[[ -n $target ]] || die "which folder? tools/bundle.sh FOLDER"
while [[ $target == */ && $target != / ]]; do target=${target%/}; done
[[ ! -e $target && ! -L $target ]] || die "'$target' is there already; choose a new folder"
for program in switchyard switchyard-engine; do
  [[ -x $build/$program ]] || die "'$build/$program' is missing: build first (tools/quickstart.sh, or cmake --preset release)"
done

# The C library and the driver are the other machine's.
of_the_machine='/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv|nsl|anl|cuda|nvidia-[^/]*))\.so[^/]*$'
missing=$(ldd "$build/switchyard" "$build/switchyard-engine" | awk '/not found/ { print $1 }' | sort -u |
  grep -v '^libcuda\.so' || true)
[[ -z $missing ]] || die "cannot be found here: $missing"
mapfile -t libraries < <(ldd "$build/switchyard" "$build/switchyard-engine" |
  awk '/=> \// { print $3 }' | sort -u | grep -vE "$of_the_machine")

mkdir -p "$(dirname "$target")"
partial=$(mktemp -d "$target.XXXXXX") # beside the target, where links are as far from what they name
trap 'rm -rf "$partial"' EXIT
chmod "$(umask -S)" "$partial"
mkdir "$partial/bin" "$partial/lib"
for program in switchyard switchyard-engine; do # the one looks beside itself for the other
  cp -L "$build/$program" "$partial/bin/"
  # Their own search path is this machine's, and would come first.
  printf 'file(RPATH_REMOVE FILE "%s")\n' "$(realpath "$partial/bin/$program")" > "$partial/rpath.cmake"
  cmake -P "$partial/rpath.cmake" > /dev/null || die "cannot take the search path out of $program"
done
rm "$partial/rpath.cmake"
for library in "${libraries[@]}"; do
  "${copy[@]}" "$library" "$partial/lib/$(basename "$library")"
  # Parts of these are loaded by name, when they are first needed.
  case $(basename "$library") in
    libcudnn.so.*)
      for part in "$(dirname "$(realpath "$library")")"/libcudnn_*.so.[0-9]; do
        [[ ! -e $part ]] || "${copy[@]}" "$part" "$partial/lib/$(basename "$part")"
      done ;;
    libcudart.so.*)
      for part in "$(dirname "$(realpath "$library")")"/libnvrtc*.so.[0-9]*; do
        [[ ! -e $part || -e $partial/lib/$(basename "$part") ]] ||
          "${copy[@]}" "$part" "$partial/lib/$(basename "$part")"
      done ;;
  esac
done
cp -r "$repository/configs" "$partial/configs"
cat > "$partial/switchyard" <<'WRAPPER'
#!/bin/sh
# Runs bin/switchyard with the libraries beside it, before those of the machine.
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$here/bin/switchyard" "$@"
WRAPPER
chmod +x "$partial/switchyard"
mv -T "$partial" "$target"
say "$target: $(find "$target/lib" -mindepth 1 | wc -l) libraries, $(du -shL "$target" | cut -f 1); the command is $target/switchyard"
