// Options of attention_importance (after DA-MoE, arXiv 2409.06669).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard::config {

struct AttentionImportanceOptions {
  static constexpr std::string_view kType = "attention_importance";
  std::string importance = "attention_entropy";  // or attention_peak, attention_received
  double k_mean = 2.0;                           // experts per token, as k_min and k_max
  std::int64_t k_min = 1;
  std::optional<std::int64_t> k_max{};      // default: num_experts
  std::string allocation = "proportional";  // or budget
  bool operator==(const AttentionImportanceOptions&) const = default;
};

}  // namespace switchyard::config
