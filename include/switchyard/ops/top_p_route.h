// Top-P routing (Huang et al., "Harder Task Needs More Experts", ACL 2024).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "switchyard/ops/routing.h"

namespace switchyard::ops {

struct RouteOutput {
  Routing routing;
  RouteSums sums;
};

struct TopPOptions {
  double p = 0.4;  // in (0, 1]; 1 keeps every expert, without a sum
  std::optional<std::int64_t> max_experts = std::nullopt;  // per-token limit
  bool renormalize = false;                                // weights of a token sum to 1
};

// probs = softmax(logits); experts sorted by descending probability (ties: lower expert id; NaN
// last); keeps the shortest prefix whose cumulative sum is >= p, at least one expert.
// Arguments: logits_TE [T, E] accumulation type (fp32 or fp64), may require grad; valid_T [T] bool
// or undefined (all valid): an invalid token gets no expert and enters no sum; sequence_offset_B1
// [B+1] int32 boundaries of the sequences, ascending from 0 to T.
// If no logit of a token is finite, expert 0 is chosen with weight NaN.
[[nodiscard]] RouteOutput top_p_route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                                      const at::Tensor& sequence_offset_B1,
                                      const TopPOptions& options);

}  // namespace switchyard::ops
