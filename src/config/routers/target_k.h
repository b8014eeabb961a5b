// Rows that are the same in all routers that have a budget of experts per token.
#pragma once

#include <fmt/format.h>

#include "config/fields/fields.h"
#include "switchyard/config/router.h"

namespace switchyard::config {

[[nodiscard]] inline Field target_k_field(Access access) {
  return {.key = "target_k",
          .access = access,
          .default_kind = DefaultKind::kDepends,
          .default_text = "0 for top_p, else 2",
          .range = {.minimum = 0},
          .unit = "experts per token",
          .help =
              "mean that the router is steered to; top_p: by moving p, which starts at `p`, and "
              "0 = p stays",
          .displaces = {"p_warmup"}};
}

[[nodiscard]] inline Field control_field(Access access) {
  return {.key = "control",
          .access = access,
          .default_text = "model",
          .choices = {"model", "layer"},
          .help = "the mean that target_k is of: all MoE layers together, or each by itself"};
}

// Of a router that always has a budget.
inline void require_target(double target_k, const RouterCheck& rules) {
  rules.require(target_k > 0.0, "target_k", "target_k", "must be above 0");
  rules.require(target_k <= static_cast<double>(rules.num_experts), "target_k", "target_k",
                fmt::format("must be at most num_experts {}, got {}", rules.num_experts, target_k));
}

}  // namespace switchyard::config
