#include "switchyard/inference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"

namespace switchyard::inference {
namespace {

// In [0, 1) with 53 bits.
double uniform(std::uint64_t seed, std::uint64_t draw) {
  const PhiloxCounter words = philox(
      philox_key(seed), {static_cast<std::uint32_t>(draw), static_cast<std::uint32_t>(draw >> 32),
                         0x73616D70U /* "samp" */, 0U});
  const std::uint64_t bits = (std::uint64_t{words[0]} << 32) | words[1];
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

void check_logits(std::span<const double> logits) {
  const auto bad = std::find_if(logits.begin(), logits.end(), [](double logit) {
    return std::isnan(logit) || (std::isinf(logit) && logit > 0.0);
  });
  if (bad != logits.end()) {
    throw NonFiniteError(fmt::format("the model's output for token {} is {}", bad - logits.begin(),
                                     std::isnan(*bad) ? "not a number" : "infinite"),
                         "these weights give no sound output; use an earlier checkpoint, RUN@STEP");
  }
}

}  // namespace

std::int32_t choose_token(std::span<const double> logits, const SamplingOptions& options,
                          std::uint64_t draw) {
  check_logits(logits);
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto logit = [&logits](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  const auto more_probable = [&](std::int32_t a, std::int32_t b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  };
  const bool is_cut = options.top_k > 0 || options.nucleus < 1.0;
  const auto best = std::min_element(ids.begin(), ids.end(), more_probable);
  if (best == ids.end() || std::isinf(logit(*best))) {
    throw NonFiniteError("no token has a finite logit");
  }
  if (options.temperature <= 0.0) return *best;

  const double largest = logit(*best);
  if (is_cut) {
    std::sort(ids.begin(), ids.end(), more_probable);
    if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < ids.size()) {
      ids.resize(static_cast<std::size_t>(options.top_k));
    }
  }
  std::vector<double> weights;
  weights.reserve(ids.size());
  for (const std::int32_t id : ids) {
    weights.push_back(std::exp((logit(id) - largest) / options.temperature));
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.nucleus < 1.0) {
    double kept = 0.0;
    std::size_t num_kept = 0;
    while (num_kept < weights.size() && kept < options.nucleus * total) kept += weights[num_kept++];
    weights.resize(num_kept);
    total = kept;
  }
  const double target = uniform(options.seed, draw) * total;
  double sum = 0.0;
  std::size_t chosen = 0;  // the last one with weight, should rounding leave `target` unreached
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0.0) continue;
    chosen = i;
    sum += weights[i];
    if (sum > target) break;
  }
  return ids[chosen];
}

}  // namespace switchyard::inference
