// Options of top_k: every token goes to its k most probable experts.
#pragma once

#include <cstdint>
#include <string_view>

namespace switchyard::config {

struct TopKOptions {
  static constexpr std::string_view kType = "top_k";
  std::int64_t k = 2;      // experts of every token
  double bias_rate = 0.0;  // a step of each expert's selection bias; 0 = no biases
  bool operator==(const TopKOptions&) const = default;
};

}  // namespace switchyard::config
