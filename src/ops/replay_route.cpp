#include "switchyard/ops/replay_route.h"

#include "ops/route.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {

RouteOutput replay_route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                         const at::Tensor& sequence_offset_B1, const ReplayOptions& options) {
  const Routing& routing = options.first.routing;
  SWITCHYARD_CHECK(logits_TE.dim() == 2 && logits_TE.size(0) == routing.num_tokens &&
                       logits_TE.size(1) == routing.num_experts,
                   "logits {} of a route of {} tokens to {} experts", c10::str(logits_TE.sizes()),
                   routing.num_tokens, routing.num_experts);
  SWITCHYARD_CHECK(routing.row_weight_N.scalar_type() == logits_TE.scalar_type(),
                   "logits in {} of a route in {}", at::toString(logits_TE.scalar_type()),
                   at::toString(routing.row_weight_N.scalar_type()));
  RouteOutput out = route(logits_TE, valid_T, sequence_offset_B1, options);
  out.sums.named = options.first.sums.named;
  out.sums.l1_coefficient = options.first.sums.l1_coefficient;
  return out;
}

}  // namespace switchyard::ops
