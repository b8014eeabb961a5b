// Options of top_p (Huang et al., "Harder Task Needs More Experts", ACL 2024).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

struct TopPOptions {
  static constexpr std::string_view kType = "top_p";
  double p = 0.4;                             // in (0, 1]
  std::optional<std::int64_t> max_experts{};  // per token
  std::optional<PWarmup> p_warmup{};
  double target_k = 0.0;          // mean experts per token that p is moved to keep; 0 = none
  std::string control = "model";  // model | layer: whose mean
  std::vector<double> control_gains{0.25, 0.5};
  bool normalize_logits = false;  // over a token's experts, times a learned scale
  bool operator==(const TopPOptions&) const = default;
};

}  // namespace switchyard::config
