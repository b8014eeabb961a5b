// The rows of the field table, in the order of the documentation.
#pragma once

#include <utility>
#include <vector>

#include "switchyard/config/field_table.h"

namespace switchyard::config {

[[nodiscard]] std::vector<Field> run_and_data_fields();
[[nodiscard]] std::vector<Field> model_fields();
[[nodiscard]] std::vector<Field> moe_fields();
[[nodiscard]] std::vector<Field> router_fields();
[[nodiscard]] std::vector<Field> router_loss_fields();
[[nodiscard]] std::vector<Field> training_fields();

// Upper bounds that no real run reaches; they keep products of sizes far from overflow.
inline constexpr double kMaxSize = 1 << 24;
inline constexpr double kMaxSteps = 1e12;

[[nodiscard]] constexpr Range at_least(double minimum) {
  return {.minimum = minimum};
}
[[nodiscard]] constexpr Range above(double minimum) {
  return {.minimum = minimum, .minimum_open = true};
}
[[nodiscard]] constexpr Range between(double minimum, double maximum) {
  return {.minimum = minimum, .maximum = maximum};
}

// A pointer to the function that returns `member` of a Config; its type is the field's type.
#define SWITCHYARD_AT(member) \
  [](Config& config) -> decltype((config.member)) { return config.member; }

// The same for `member` of a router's own options.
#define SWITCHYARD_ROUTER_OPTION(Options, member)                     \
  [](Config& config) -> decltype((std::declval<Options&>().member)) { \
    return config.model.moe.router.options.as<Options>().member;      \
  }

}  // namespace switchyard::config
