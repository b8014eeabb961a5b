// Router losses as local shares whose sum over ranks, micro-batches and layers is the step's value.
// Padding never enters. Formulas: docs/architecture.md, "Losses". Not the config but the router
// gives the coefficient of l1, with the sums.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "switchyard/config/config.h"
#include "switchyard/ops/routing.h"

namespace switchyard::routing {

// What all ranks did in one micro-step and layer (for one rank: its own sums).
struct MicroStepCounts {
  at::Tensor count_E;           // [E] int64, global
  std::int64_t num_tokens = 0;  // T_m, global
};

struct LossShares {
  at::Tensor load_balance;  // scalars, accumulation type, differentiable; raw (no coefficient)
  at::Tensor dynamic;
  at::Tensor z;
  at::Tensor l1;  // undefined where the router has no weights to keep small
};

// step_tokens = valid tokens of the whole step over ranks and micro-steps (T_step). With
// T_step = 0, T_m = 0 or no rows, values and gradients are 0. Never waits for the device when
// global.count_E is where the sums are. Throws UsageError for an unknown `scope` or `normalize`.
[[nodiscard]] LossShares loss_shares(const ops::RouteSums& local, const MicroStepCounts& global,
                                     std::int64_t step_tokens, const config::MoeLossConfig& config);

}  // namespace switchyard::routing
