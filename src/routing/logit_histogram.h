// How the logits of each expert are spread, as counts in fixed bins: sums of them over
// micro-batches and ranks are exact and in any order the same, and give every rank the same
// quantiles.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace switchyard::routing {

// Bins are equal in asinh(8 x), from -64 to 64: a few thousandths wide near 0, a thirtieth of the
// logit far from it. What lies outside is in the first or the last bin, and no quantile is outside:
// a threshold never is. Out there the sigmoid is 0 or 1 to the last bit of an fp32 and without a
// gradient, so a router that is there has stopped learning. Below -64 nothing is lost but weights
// under 1e-27. Tokens above 64 are all taken, more than the target if they are more than its r-th;
// they count again as soon as their logits are back.
inline constexpr std::int64_t kLogitBins = 512;

// [T, E] -> [E * kLogitBins] fp64, expert by expert, ascending logits. NaN and tokens that are not
// valid (valid_T undefined: all are) count nowhere.
[[nodiscard]] at::Tensor logit_histogram(const at::Tensor& logits_TE, const at::Tensor& valid_T);

// About the rank-th largest (from 1) of one expert's logits, by interpolation inside its bin; the
// least that bins can tell when there are fewer.
[[nodiscard]] double largest_logit(const double* count, double rank);

}  // namespace switchyard::routing
