// The keys of a step record in metrics.jsonl that readers may rely on.
#pragma once

#include <array>

namespace switchyard::testing {

// Those whose values are numbers; beside them there is "layers", an array.
inline constexpr std::array kStepRecordNumbers = {"step",
                                                  "tokens",
                                                  "loss",
                                                  "lm_loss",
                                                  "load_balance_loss",
                                                  "dynamic_loss",
                                                  "z_loss",
                                                  "l1_loss",
                                                  "load_balance_loss_weighted",
                                                  "dynamic_loss_weighted",
                                                  "z_loss_weighted",
                                                  "l1_loss_weighted",
                                                  "learning_rate",
                                                  "grad_norm",
                                                  "tokens_per_second",
                                                  "step_ms",
                                                  "mfu",
                                                  "memory_bytes",
                                                  "experts_per_token",
                                                  "experts_per_token_p5",
                                                  "experts_per_token_p95",
                                                  "router_entropy",
                                                  "max_violation",
                                                  "dead_experts",
                                                  "single_expert_share",
                                                  "router_grad_norm",
                                                  "skipped_steps"};

}  // namespace switchyard::testing
