// A route from any choice of experts: for routers without a kernel of their own.
#pragma once

#include <ATen/core/Tensor.h>

#include "switchyard/ops/routing.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::ops {

// What a router decided about T tokens and E experts. One device; weights and logits in one
// accumulation type (fp32 or fp64).
struct ChosenExperts {
  at::Tensor weight_TE;  // [T, E] may require grad; read only where chosen
  at::Tensor chosen_TE;  // [T, E] bool, any pattern: 0 to E experts per token
  at::Tensor logits_TE;  // [T, E] may require grad; what the router losses are of
};

// The routing of the chosen pairs, and the sums of its counts and of softmax(logits_TE).
// valid_T, sequence_offset_B1 as those of top_p_route: an invalid token gets no expert, whatever is
// chosen for it, and enters no sum. row_weight_N is differentiable back to weight_TE, the sums back
// to logits_TE. On a GPU the host waits once, for the number of rows.
[[nodiscard]] RouteOutput route_chosen(const ChosenExperts& experts, const at::Tensor& valid_T,
                                       const at::Tensor& sequence_offset_B1);

// As replay_route: the values of `first`, which route_chosen returned, with the gradients that its
// pairs and sums have at these weights and logits. experts.chosen_TE is not read.
[[nodiscard]] RouteOutput replay_chosen(const ChosenExperts& experts, const at::Tensor& valid_T,
                                        const at::Tensor& sequence_offset_B1,
                                        const RouteOutput& first);

}  // namespace switchyard::ops
