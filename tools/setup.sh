#!/usr/bin/env bash
# Installs what Switchyard needs to build: Debian/Ubuntu packages, and LibTorch unpacked from the
# PyPI wheels pinned in tools/libtorch_wheels.txt. Idempotent: a second run only looks.
#
#   tools/setup.sh [--corpus] [--mpi] [--ci] [--cutlass]
#     --corpus  also the package with the built-in corpus (tools/quickstart.sh)
#     --mpi     also MPI, for several ranks on CPUs
#     --ci      also MPI, clang-format, clang-tidy and Google Benchmark (.ci/run)
#     --cutlass also CUTLASS's headers, for -DSWITCHYARD_CUTLASS=ON
#
# A cmake or g++ older than the project asks for (Ubuntu 22.04's) is left alone; a newer cmake from
# PyPI, a link to g++-12, go to the cache, where the scripts in tools/ find them.
#
# LibTorch goes to ${SWITCHYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard}, outside the
# checkout, where it replaces nothing that it did not put there. SWITCHYARD_CUDA=OFF in the
# environment fetches the CPU flavour even beside a toolkit.
set -euo pipefail
export HOME="${HOME:-$(echo ~)}" # a bare environment has none

readonly tools_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly cache="${SWITCHYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard}"
readonly wheels_file="$tools_dir/libtorch_wheels.txt"
# Wheels and what is unpacked of them, removed at the end: what an interrupted set-up fetched is used.
readonly downloads="$cache/switchyard-downloads"

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------- packages

# Programs are looked for on PATH (another source than Debian is fine), libraries by package.
readonly programs=(g++:g++ cmake:cmake ninja:ninja-build ccache:ccache mold:mold unzip:unzip)
readonly libraries=(libyaml-cpp-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
  libsentencepiece-dev libxxhash-dev zlib1g-dev libzstd-dev libgtest-dev libgmock-dev)

missing_packages() { # wanted program:package and package names as arguments
  local item packages=()
  for item in "$@"; do
    if [[ $item == *:* ]]; then
      command -v "${item%%:*}" > /dev/null || printf '%s\n' "${item##*:}"
    else
      packages+=("$item")
    fi
  done
  command -v dpkg-query > /dev/null || return 0
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2> /dev/null |
    awk -v wanted="${packages[*]}" '
      $1 == "installed" { have[$2] = 1 }
      END { n = split(wanted, name, " "); for (i = 1; i <= n; i++) if (!(name[i] in have)) print name[i] }' || true
}

install_packages() { # Debian package names
  local as_root=()
  if [[ $EUID -ne 0 ]]; then
    command -v sudo > /dev/null ||
      die "missing packages: $*. Neither root nor sudo here; as root run: apt-get install $*"
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
  say "installing Debian packages: $*"
  if ! "${apt[@]}" install --no-install-recommends "$@" >> "$log" 2>&1; then
    say "refreshing the package lists"
    "${apt[@]}" update >> "$log" 2>&1 || true # one unreachable source is not yet a failure
    "${apt[@]}" install --no-install-recommends "$@" >> "$log" 2>&1 || {
      tail -n 5 "$log" >&2
      die "could not install: $* (whole log: $log)"
    }
  fi
}

ensure_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get > /dev/null ||
    die "missing: ${missing[*]} (Debian names). This machine has no apt-get: install them by hand"
  install_packages "${missing[@]}"
}

# ---------------------------------------------------------------- the cache

# A folder that is going to be there by a rename: what has its name is not ours, or was damaged.
check_free() { # folder
  [[ ! -e $1 && ! -L $1 ]] || die "'$1' is there, but not what belongs there: move it away"
}

# Into the folder that is on the PATH of tools/common.sh.
link_program() { # program name
  local link="$cache/bin/$2"
  mkdir -p "$cache/bin"
  [[ ! -e $link || -L $link ]] || die "'$link' is there and is no link: move it away"
  ln -sfn "$1" "$link"
}

# ---------------------------------------------------------------- compiler

readonly oldest_gcc=12 # CMakeLists.txt

# The system's own g++ of Ubuntu 22.04 is older; a newer one is beside it among its packages.
ensure_compiler() {
  local version name
  [[ -z ${CXX:-} ]] || return 0 # the user's choice, which cmake looks at
  version=$(g++ -dumpversion) || return 0
  [[ ${version%%.*} =~ ^[0-9]+$ && ${version%%.*} -lt $oldest_gcc ]] || return 0
  say "g++ $version is older than $oldest_gcc"
  ensure_packages "g++-$oldest_gcc:g++-$oldest_gcc"
  for name in c++ g++; do link_program "$(command -v "g++-$oldest_gcc")" "$name"; done
  say "g++ $oldest_gcc: $cache/bin/g++ (by hand: CXX=g++-$oldest_gcc cmake --preset release)"
}

# ---------------------------------------------------------------- CMake

readonly oldest_cmake=3.25 # CMakeLists.txt
readonly cmake_version=3.31.6
readonly cmake_sha=1c8b05df0602365da91ee6a3336fe57525b137706c4ab5675498f662ae1dbcec

is_new_enough() { # the output of `cmake --version`
  local version
  version=$(sed -n '1s/^cmake version //p' <<< "$1")
  [[ $(printf '%s\n' "$oldest_cmake" "$version" | sort -V | head -n 1) == "$oldest_cmake" ]]
}

ensure_cmake() {
  local root="$cache/cmake-$cmake_version" unpacked="$downloads/cmake" name
  is_new_enough "$(cmake --version)" && return 0
  if [[ ! -x $root/bin/cmake ]]; then
    check_free "$root"
    say "$(cmake --version | head -n 1) is older than $oldest_cmake: fetching $cmake_version into $root"
    ensure_pip
    fetch_wheel "cmake==$cmake_version" "$cmake_sha"
    rm -rf "$unpacked"
    mkdir "$unpacked"
    unzip -q -o "$downloads/cmake-$cmake_version.whl" 'cmake/data/*' '*/licenses/*' -d "$unpacked"
    mv "$unpacked"/*.dist-info/licenses "$unpacked/cmake/data/"
    chmod +x "$unpacked"/cmake/data/bin/*
    mv -T "$unpacked/cmake/data" "$root"
    rm -rf "$downloads"
  fi
  for name in cmake ctest; do link_program "$root/bin/$name" "$name"; done
  say "CMake $cmake_version: $root/bin/cmake"
}

# ---------------------------------------------------------------- LibTorch

# The library folder of a CUDA 13 toolkit; empty without one.
find_toolkit() {
  [[ ${SWITCHYARD_CUDA:-AUTO} != OFF ]] || return 0
  local folder nvcc=
  for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do # as cmake/Cuda.cmake looks
    [[ -n $nvcc || -z $folder || ! -x $folder/bin/nvcc ]] || nvcc="$folder/bin/nvcc"
  done
  [[ -n $nvcc ]] || nvcc=$(command -v nvcc) || return 0
  if ! "$nvcc" --version 2> /dev/null | grep -q 'release 13\.'; then
    say "note: $nvcc is not CUDA 13; building without CUDA kernels" >&2
    return 0
  fi
  local root
  root="$(cd "$(dirname "$nvcc")/.." && pwd)"
  if [[ -d $root/lib64 ]]; then echo "$root/lib64"; else echo "$root/lib"; fi
}

find_pip() { # prints a python that has pip
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -m pip --version > /dev/null 2>&1; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

# Downloads one wheel unless a good copy is there already. The platform is named, so that any host
# Python will do; older manylinux tags are listed because pip does not infer them.
fetch_wheel() { # requirement sha256
  local requirement=$1 sha=$2
  local target="$downloads/${requirement/==/-}.whl" partial="$downloads/partial"
  if [[ -f $target ]]; then
    sha256sum --status -c - <<< "$sha  $target" && return 0
    rm -f "$target"
  fi
  local platforms=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64) minor
  for minor in {28..12}; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  rm -rf "$partial"
  mkdir -p "$partial"
  say "downloading $requirement"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none "${platforms[@]}" \
    --dest "$partial" "$requirement" || die "could not download $requirement from the package index"
  local file
  file=$(find "$partial" -name '*.whl')
  if ! sha256sum --status -c - <<< "$sha  $file"; then
    local got
    got=$(sha256sum "$file")
    rm -f "$file"
    die "$(basename "$file"): SHA-256 is ${got%% *}, expected $sha (pinned in tools/). The file was deleted"
  fi
  mv "$file" "$target"
}

ensure_pip() { # sets `python`
  python=$(find_pip) && return 0
  install_packages python3-pip
  python=$(find_pip) || die "missing: pip for python3 (Debian package python3-pip)"
}

ensure_libtorch() {
  local toolkit flavour=cpu version
  toolkit=$(find_toolkit)
  [[ -z $toolkit ]] || flavour=cuda13
  version=$(awk '$1 ~ /^torch==/ { sub("torch==", "", $1); print $1 }' "$wheels_file")
  local root="$cache/libtorch-$version-$flavour"
  if [[ -e $root/torch/lib/libtorch_cpu.so ]]; then
    say "LibTorch $version ($flavour): $root"
    return 0
  fi
  check_free "$root"
  [[ $(uname -m) == x86_64 ]] || die "LibTorch's wheel is for x86_64, this machine is $(uname -m)"

  local requirement sha needed library wanted=()
  while read -r requirement sha needed library; do
    [[ -n $requirement && $requirement != \#* ]] || continue
    [[ $needed == always || $flavour == cuda13 ]] || continue
    [[ $library == - || -z $toolkit || ! -e $toolkit/$library ]] || continue
    wanted+=("$requirement $sha")
  done < "$wheels_file"
  say "fetching LibTorch $version ($flavour) into $root"

  ensure_pip
  local item files=()
  for item in "${wanted[@]}"; do
    read -r requirement sha <<< "$item"
    fetch_wheel "$requirement" "$sha"
    files+=("$downloads/${requirement/==/-}.whl")
  done

  # Unpack elsewhere and rename: a folder with the final name is always whole.
  local unpacked="$downloads/libtorch" file
  rm -rf "$unpacked"
  mkdir "$unpacked"
  say "unpacking"
  for file in "${files[@]}"; do # unzip's 11: a pattern matched nothing, as in most wheels
    unzip -q -o "$file" 'torch/include/*' 'torch/lib/*' 'nvidia/*' '*/LICENSE*' '*/License*' \
      -x 'torch/lib/libtorch_python.so' -d "$unpacked" 2> /dev/null || [[ $? -eq 11 ]] ||
      die "could not unpack $file"
  done
  [[ -e $unpacked/torch/lib/libtorch_cpu.so ]] || die "the torch wheel holds no libtorch_cpu.so"
  mv -T "$unpacked" "$root"
  rm -rf "$downloads"
  say "LibTorch $version ($flavour): $root"
}

# ---------------------------------------------------------------- CUTLASS

readonly cutlass_version=4.2.0.0
readonly cutlass_sha=f9599ada45c7bcb6bf53f7d3f0a7d154183e53451c01bfa59eecd37dd4a693f6

ensure_cutlass() {
  local root="$cache/cutlass-$cutlass_version" unpacked="$downloads/cutlass"
  if [[ ! -e $root/include/cutlass/cutlass.h ]]; then
    check_free "$root"
    say "fetching CUTLASS $cutlass_version into $root"
    ensure_pip
    fetch_wheel "nvidia-cutlass==$cutlass_version" "$cutlass_sha"
    rm -rf "$unpacked"
    mkdir "$unpacked"
    unzip -q -o "$downloads/nvidia-cutlass-$cutlass_version.whl" \
      'cutlass_library/source/include/*' '*/LICENSE*' -d "$unpacked"
    mv "$unpacked/cutlass_library/source/include" "$unpacked/include"
    mv -T "$unpacked" "$root"
    rm -rf "$downloads"
  fi
  say "CUTLASS $cutlass_version: $root"
}

# ---------------------------------------------------------------- main

mpi=(mpirun:openmpi-bin libopenmpi-dev)
wanted=("${programs[@]}" "${libraries[@]}")
with_cutlass=
for argument in "$@"; do
  case $argument in
    --corpus) wanted+=(bible-kjv) ;;
    --cutlass) with_cutlass=yes ;;
    --ci) wanted+=(clang-format:clang-format clang-tidy:clang-tidy libbenchmark-dev "${mpi[@]}") ;;
    --mpi) wanted+=("${mpi[@]}") ;;
    -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown argument '$argument' (known: --corpus, --ci, --mpi, --cutlass)" ;;
  esac
done

mkdir -p "$cache"
readonly log="$cache/setup.log"
if command -v flock > /dev/null; then # two set-ups at once: the second waits
  exec 9>> "$cache/setup.lock"
  flock 9
fi
ensure_packages "${wanted[@]}"
ensure_compiler
ensure_cmake
ensure_libtorch
[[ -z $with_cutlass ]] || ensure_cutlass
