// Options of top_p (Huang et al., "Harder Task Needs More Experts", ACL 2024).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "switchyard/config/config.h"

namespace switchyard::config {

struct TopPOptions {
  static constexpr std::string_view kType = "top_p";
  double p = 0.4;                             // in (0, 1]
  std::optional<std::int64_t> max_experts{};  // per token
  std::optional<PWarmup> p_warmup{};
  bool operator==(const TopPOptions&) const = default;
};

}  // namespace switchyard::config
