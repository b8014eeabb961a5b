#!/usr/bin/env bash
# verify-layout over everything that a layout of ranks goes together with: every router, moments
# shared out or not, recompute or not, one micro-step or four, in fp64. Prints one line each and the
# largest difference; about ten minutes on two cores.
#   tools/bench/verify_matrix.sh [ROUTER...]
# SWITCHYARD names the program (default: build/release/switchyard), LAYOUTS the layouts.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
switchyard="${SWITCHYARD:-$repository/build/release/switchyard}"
layouts="${LAYOUTS:-1x1,2x1,2x2,4x1,4x2,4x4,8x8}"
(($# > 0)) || set -- top_k top_p attention_importance relu expert_threshold

printf '%-22s %-12s %-10s %-12s %s\n' router moments recompute micro-steps 'largest difference'
status=0
for router in "$@"; do
  for shared in true false; do
    for recompute in false true; do
      for micro in 32 8; do
        result=$("$switchyard" verify-layout "$repository/configs/tiny.yaml" data.path=none \
          run.dir=none train.precision=fp64 model.moe.num_experts=8 \
          model.moe.router.type="$router" parallel.shard_optimizer=$shared \
          train.recompute=$recompute train.global_batch_size=32 train.micro_batch_size=$micro \
          --layouts "$layouts" --steps 20 2>&1) || status=$?
        printf '%-22s %-12s %-10s %-12s %s\n' "$router" \
          "$([[ $shared == true ]] && echo 'shared out' || echo whole)" $recompute $((32 / micro)) \
          "$(tail -n 1 <<< "$result" | sed 's/^max relative difference //')"
      done
    done
  done
done
exit $status
