// Options of attention_importance (after DA-MoE, arXiv 2409.06669).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard::config {

struct AttentionImportanceOptions {
  static constexpr std::string_view kType = "attention_importance";
  // attention_entropy, attention_peak, attention_received, attention_received_peak, or auto: by the
  // kind of model.
  std::string importance = "auto";
  double k_mean = 2.0;  // experts per token, as k_min and k_max
  std::int64_t k_min = 1;
  std::optional<std::int64_t> k_max{};      // default: num_experts
  std::string allocation = "proportional";  // or budget, ceil_experts

  // The importance of a model with this kind of attention.
  [[nodiscard]] std::string importance_in(bool causal) const {
    if (importance != "auto") return importance;
    return causal ? "attention_entropy" : "attention_received";
  }
  // k_mean says nothing then: the number of experts follows from the importance alone.
  [[nodiscard]] bool is_ceil_experts() const { return allocation == "ceil_experts"; }
  bool operator==(const AttentionImportanceOptions&) const = default;
};

}  // namespace switchyard::config
