// Options of relu (Wang et al., "ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing",
// ICLR 2025).
#pragma once

#include <string>
#include <string_view>

namespace switchyard::config {

struct ReluOptions {
  static constexpr std::string_view kType = "relu";
  double target_k = 2.0;          // mean experts per token that the L1 coefficient is moved to keep
  std::string control = "model";  // model | layer: whose mean
  double l1_start = 1e-8;
  double l1_factor = 1.2;  // what it is multiplied or divided by after every step
  bool operator==(const ReluOptions&) const = default;
};

}  // namespace switchyard::config
