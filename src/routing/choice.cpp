#include "routing/choice.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <tuple>

namespace switchyard::routing {

at::Tensor k_largest(const at::Tensor& score_TE, std::int64_t k) {
  const at::Tensor score = score_TE.detach();
  // Sorting takes NaN for the largest. A stable order keeps ties ascending.
  const at::Tensor ordered =
      at::where(at::isnan(score), -std::numeric_limits<double>::infinity(), score);
  const at::Tensor order_TE =
      std::get<1>(at::sort(ordered, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  return at::zeros_like(score, score.options().dtype(at::kBool))
      .scatter_(1, order_TE.narrow(1, 0, k), 1);
}

ChosenWeights with_lost_tokens(const ChosenWeights& chosen, const at::Tensor& logits_TE) {
  const at::Tensor is_found_T1 = at::isfinite(logits_TE.detach()).any(1, /*keepdim=*/true);
  const at::Tensor is_first_E =
      at::arange(logits_TE.size(1), logits_TE.options().dtype(at::kLong)).eq(0);
  const at::Tensor lost_TE = is_found_T1.logical_not().logical_and(is_first_E);
  return {
      .chosen_TE = chosen.chosen_TE.logical_and(is_found_T1).logical_or(lost_TE),
      .weight_TE = at::where(lost_TE, std::numeric_limits<double>::quiet_NaN(), chosen.weight_TE)};
}

at::Tensor without_padding(const at::Tensor& value_TE, const at::Tensor& valid_T) {
  if (!valid_T.defined()) return value_TE;
  return at::where(valid_T.unsqueeze(1), value_TE, 0.0);
}

}  // namespace switchyard::routing
