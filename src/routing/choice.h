// What routers without a kernel of their own share: choices of experts as matrices.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "switchyard/routing/router.h"

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

// A small tensor that changes once a step on the host and is read by every route: the copy on a
// device is made once, and nobody waits for it.
class StateTensor {
 public:
  explicit StateTensor(at::Tensor host) : host_(std::move(host)) {}

  [[nodiscard]] const at::Tensor& host() const { return host_; }
  void set(at::Tensor host);
  // As a tensor of these options.
  [[nodiscard]] const at::Tensor& as(const at::TensorOptions& options) const;

 private:
  at::Tensor host_;
  mutable at::Tensor copy_;
};

// Mean rows per token that a budget is held by: over all layers for `control: model`, else of this
// one. 0 for a step without tokens.
[[nodiscard]] double mean_experts(const GlobalSums& sums, std::string_view control);

// Throws UsageError for a budget that no choice of these experts can have.
void check_target_k(double target_k, std::int64_t num_experts);

// Zeros where valid_T says so (undefined: nowhere): what padding holds reaches neither a sum nor,
// as NaN times zero, a gradient.
[[nodiscard]] at::Tensor without_padding(const at::Tensor& value_TE, const at::Tensor& valid_T);

}  // namespace switchyard::routing
