#include "routing/choice.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <numeric>
#include <tuple>

#include "switchyard/core/error.h"

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

void StateTensor::set(at::Tensor host) {
  host_ = std::move(host);
  copy_.reset();
}

const at::Tensor& StateTensor::as(const at::TensorOptions& options) const {
  if (!copy_.defined() || copy_.device() != options.device() ||
      copy_.scalar_type() != c10::typeMetaToScalarType(options.dtype())) {
    const at::Tensor converted = host_.to(options.dtype());
    copy_ = options.device().is_cpu()
                ? converted
                : converted.pin_memory().to(options.device(), /*non_blocking=*/true);
  }
  return copy_;
}

double mean_experts(const GlobalSums& sums, std::string_view control) {
  if (sums.num_tokens == 0) return 0.0;
  if (control == "model") return sums.model_experts_per_token;
  const std::int64_t num_rows =
      std::accumulate(sums.count_E.begin(), sums.count_E.end(), std::int64_t{0});
  return static_cast<double>(num_rows) / static_cast<double>(sums.num_tokens);
}

void check_target_k(double target_k, std::int64_t num_experts) {
  if (target_k > 0.0 && target_k <= static_cast<double>(num_experts)) return;
  throw UsageError(
      fmt::format("model.moe.router.target_k must be above 0 and at most {} (the experts), got {}",
                  num_experts, target_k));
}

at::Tensor without_padding(const at::Tensor& value_TE, const at::Tensor& valid_T) {
  if (!valid_T.defined()) return value_TE;
  return at::where(valid_T.unsqueeze(1), value_TE, 0.0);
}

}  // namespace switchyard::routing
