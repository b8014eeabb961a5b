// A route taken once more: for a block that is computed a second time in its backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include "switchyard/ops/routing.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::ops {

struct ReplayOptions {
  RouteOutput first = {};    // what the first pass returned
  bool renormalize = false;  // as in the first pass
};

// Arguments as those of top_p_route; the logits are the first pass's up to rounding. Nothing is
// chosen and nothing added up: the result has the values of `first`, and the gradients that its
// pairs have at these logits. So neither a tie nor a rounding can send a token elsewhere.
[[nodiscard]] RouteOutput replay_route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                                       const at::Tensor& sequence_offset_B1,
                                       const ReplayOptions& options);

}  // namespace switchyard::ops
