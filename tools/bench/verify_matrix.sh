#!/usr/bin/env bash
# verify-layout over everything that a layout of ranks goes together with: every router, moments
# shared out or not, recompute or not, one micro-step or four. Prints one line each and the largest
# difference, and what verify-layout has to say of choices that rounding flips and of what is beyond
# its tolerances, in which case it fails; about ten minutes on two cores.
#   tools/bench/verify_matrix.sh [ROUTER...]
# SWITCHYARD names the program (default: build/release/switchyard), LAYOUTS the layouts, PRECISION
# fp64 (default) or fp32.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
switchyard="${SWITCHYARD:-$repository/build/release/switchyard}"
layouts="${LAYOUTS:-1x1,2x1,2x2,4x1,4x2,4x4,8x8}"
(($# > 0)) || set -- top_k top_k_biased top_p top_p_target top_p_normalized attention_importance relu \
  expert_threshold shared_expert

# What makes the state of a router move, and its choices follow, within 20 steps.
options_of() {
  local router=model.moe.router
  case $1 in
    top_k_biased) echo "$router.type=top_k $router.bias_rate=1e-2" ;;
    top_p_target) echo "$router.type=top_p $router.target_k=2" ;;
    top_p_normalized) echo "$router.type=top_p $router.normalize_logits=true" ;;
    relu) echo "$router.type=relu $router.l1_start=1e-2" ;;
    expert_threshold) echo "$router.type=expert_threshold $router.threshold_warmup=2" ;;
    shared_expert) echo "$router.type=top_p model.moe.shared_expert_size=32" ;;
    *) echo "$router.type=$1" ;;
  esac
}

printf '%-22s %-12s %-10s %-12s %s\n' router moments recompute micro-steps 'largest difference'
status=0
for router in "$@"; do
  read -ra options <<< "$(options_of "$router")"
  for shared in true false; do
    for recompute in false true; do
      for micro in 32 8; do
        result=$("$switchyard" verify-layout "$repository/configs/tiny.yaml" data.path=none \
          run.dir=none train.precision="${PRECISION:-fp64}" model.moe.num_experts=8 \
          "${options[@]}" parallel.shard_optimizer=$shared \
          train.recompute=$recompute train.global_batch_size=32 train.micro_batch_size=$micro \
          --layouts "$layouts" --steps 20 2>&1) || status=$?
        printf '%-22s %-12s %-10s %-12s %s\n' "$router" \
          "$([[ $shared == true ]] && echo 'shared out' || echo whole)" $recompute $((32 / micro)) \
          "$(tail -n 1 <<< "$result" | sed 's/^max relative difference //')"
        grep -E '^[0-9]+x[0-9]+: ' <<< "$result" | sed 's/^/  /' || true
      done
    done
  done
done
exit $status
