#!/usr/bin/env bash
# Times training steps of Switchyard and of Hugging Face's Mixtral (same shapes, AdamW, clipping and
# router loss) in turn within one run, and prints tables of medians, ratios, GFLOP/s (6 x activated
# parameters x tokens/s) and peak memory, in fp32 and bf16.
#
# usage: tools/bench/compare_transformers.sh [--shape a b] [--precision fp32 bf16] [--rounds N]
#                                            [--alone] [--override key.sub=value ...]
#
# Needs python3 with venv. The peer's packages go to a virtual environment in the cache folder.
# PROGRAM names another build of train_step_benchmark; OMP_NUM_THREADS (default 2) the threads.
set -euo pipefail

case ${1:-} in
  -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "$0"; exit 0 ;;
esac
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${SWITCHYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard}
environment=$cache/compare_transformers
program=${PROGRAM:-$root/build/release/src/train_step_benchmark}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

if [[ ! -e $environment/ready ]]; then
  echo "compare_transformers: installing torch and transformers into $environment"
  python3 -m venv "$environment"
  # The version whose LibTorch we link.
  "$environment/bin/pip" install --quiet "torch==2.11.0" "transformers==4.57.*"
  touch "$environment/ready"
fi
if [[ -z ${PROGRAM:-} ]]; then
  (cd "$root" && cmake --preset release -DSWITCHYARD_BENCHMARKS=ON &&
    cmake --build build/release --target train_step_benchmark) > /dev/null
fi
exec taskset -c "0-$((OMP_NUM_THREADS - 1))" \
  "$environment/bin/python" "$root/tools/bench/compare_transformers.py" --program "$program" "$@"
