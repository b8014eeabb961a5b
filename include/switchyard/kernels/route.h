// What the routing kernels share. A route is made in two steps: a choice per token (top_p_route or
// top_k_route), which fixes the number of rows N, then the rows and sums (route_rows).
//
// The order of a token's experts is by descending *logit*, ties by the lower id, NaN last: the same
// order as by probability, without ties that only rounding makes. A token's set of experts is
// therefore known from its last one, which is all that the first step stores.
// T is the accumulation type (float or double); pointers are of one device.
#pragma once

#include <cstdint>

namespace switchyard::kernels {

template <typename T>
struct RouteLogits {
  std::int64_t num_tokens = 0;
  std::int64_t num_experts = 0;  // >= 1
  const T* logits_TE = nullptr;
  const bool* valid_T = nullptr;  // null: every token is valid
};

// Written by the first step, read by the second.
template <typename T>
struct RouteChoice {
  T* softmax_T2 = nullptr;                  // [T, 2] m = max of the logits that are not NaN,
                                            // s = sum of exp(l - m): P = exp(l - m) / s
  std::int32_t* last_expert_T = nullptr;    // last chosen expert in the token's order; -1: none
  std::int32_t* token_offset_T1 = nullptr;  // [T+1]; wraps when N does not fit
};

}  // namespace switchyard::kernels
