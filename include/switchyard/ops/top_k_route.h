// Routing to the k most probable experts, with k fixed or given per token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "switchyard/ops/routing.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::ops {

struct TopKOptions {
  std::int64_t k = 2;       // used when k_T is undefined; 0..E
  at::Tensor k_T = {};      // [T] int32 experts per token, each 0..E, or undefined
  bool renormalize = true;  // weights of a token sum to 1
};

// As top_p_route (same arguments, order, ties and non-finite rules), keeping k experts per token.
[[nodiscard]] RouteOutput top_k_route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                                      const at::Tensor& sequence_offset_B1,
                                      const TopKOptions& options);

}  // namespace switchyard::ops
