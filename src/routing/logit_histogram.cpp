#include "routing/logit_histogram.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/asinh.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cmath>

namespace switchyard::routing {
namespace {

constexpr double kScale = 8.0;

double largest_place() {
  return std::asinh(kScale * 64.0);
}

}  // namespace

at::Tensor logit_histogram(const at::Tensor& logits_TE, const at::Tensor& valid_T) {
  const at::NoGradGuard no_grad;
  const std::int64_t num_experts = logits_TE.size(1);
  const auto int64 = logits_TE.options().dtype(at::kLong);
  at::Tensor counts_TE = at::isnan(logits_TE).logical_not();
  if (valid_T.defined()) counts_TE = counts_TE.logical_and(valid_T.unsqueeze(1));
  const double half = largest_place();
  const at::Tensor place_TE =
      at::asinh(at::where(counts_TE, logits_TE.detach(), 0.0).to(at::kDouble).mul(kScale));
  const at::Tensor bin_TE = place_TE.add(half)
                                .mul(static_cast<double>(kLogitBins) / (2.0 * half))
                                .floor()
                                .clamp(0, kLogitBins - 1)
                                .to(at::kLong);
  const at::Tensor first_bin_E = at::arange(num_experts, int64).mul(kLogitBins);
  // One bin more takes what does not count.
  const at::Tensor slot =
      at::where(counts_TE, bin_TE.add(first_bin_E), num_experts * kLogitBins).reshape({-1});
  return at::zeros({num_experts * kLogitBins + 1}, int64)
      .scatter_add_(0, slot, at::ones_like(slot))
      .narrow(0, 0, num_experts * kLogitBins)
      .to(at::kDouble);
}

double largest_logit(const double* count, double rank) {
  const double half = largest_place();
  const double width = 2.0 * half / static_cast<double>(kLogitBins);
  double above = 0.0;
  for (std::int64_t bin = kLogitBins - 1; bin >= 0; --bin) {
    if (count[bin] > 0.0 && above + count[bin] >= rank) {
      const double into = (rank - above) / count[bin];
      return std::sinh(-half + width * (static_cast<double>(bin + 1) - into)) / kScale;
    }
    above += count[bin];
  }
  return -std::sinh(half) / kScale;
}

}  // namespace switchyard::routing
