// Options of expert_threshold (Sun et al., "Expert Threshold Routing for Autoregressive Language
// Modeling", arXiv 2603.11535).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace switchyard::config {

struct ExpertThresholdOptions {
  static constexpr std::string_view kType = "expert_threshold";
  double target_k = 2.0;                // mean experts per token that the thresholds stand for
  double threshold_decay = 0.999;       // of the running mean of an expert's threshold
  std::int64_t threshold_warmup = 100;  // steps of top-k while the thresholds fill

  // Experts of a token in the warm-up.
  [[nodiscard]] std::int64_t num_warmup_experts() const {
    return std::max<std::int64_t>(1, std::llround(target_k));
  }
  bool operator==(const ExpertThresholdOptions&) const = default;
};

}  // namespace switchyard::config
