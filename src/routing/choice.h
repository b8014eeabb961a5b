// What routers without a kernel of their own share: choices of experts as matrices.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace switchyard::routing {

// The k experts of each token with the largest scores, [T, E] bool. Ties go to the lower expert,
// NaN comes last. Not differentiable.
[[nodiscard]] at::Tensor k_largest(const at::Tensor& score_TE, std::int64_t k);

// What the routing contract asks of a token without a finite logit: it goes to expert 0 alone, with
// weight NaN.
struct ChosenWeights {
  at::Tensor chosen_TE;  // [T, E] bool
  at::Tensor weight_TE;  // [T, E]
};
[[nodiscard]] ChosenWeights with_lost_tokens(const ChosenWeights& chosen,
                                             const at::Tensor& logits_TE);

// Zeros where valid_T says so (undefined: nowhere): what padding holds reaches neither a sum nor,
// as NaN times zero, a gradient.
[[nodiscard]] at::Tensor without_padding(const at::Tensor& value_TE, const at::Tensor& valid_T);

}  // namespace switchyard::routing
