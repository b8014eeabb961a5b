// Options of the toy router: a token goes to every expert whose probability is at least `level`
// times that of a uniform choice, where `level` moves from `floor` to `ceiling` while training.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace switchyard::config {

struct ToyOptions {
  static constexpr std::string_view kType = "toy";
  double floor = 0.5;                         // both in uniform probabilities
  double ceiling = 1.0;                       // at least floor
  std::optional<std::int64_t> max_experts{};  // per token; an option that top_p has too
  bool operator==(const ToyOptions&) const = default;
};

}  // namespace switchyard::config
