// Floating-point operations of training, for the model FLOP utilisation (MFU).
#pragma once

#include <cstdint>

#include "switchyard/config/config.h"

namespace switchyard::model {

// Of the forward and backward pass of one token whose MoE layers choose k experts on average:
// 6 operations per matrix parameter that the token uses (the output head counted, the embedding
// not), and causal attention over a window of S tokens, 6 * layers * heads * head_dim * (S + 1)
// (scores and weighted sum: 2 * 2 * heads * head_dim for each of (S + 1) / 2 visible keys, three
// times for forward and backward). Recomputation is not counted.
struct TrainingFlops {
  double fixed = 0.0;       // whatever the router does
  double per_expert = 0.0;  // for each expert per token

  [[nodiscard]] double per_token(double k) const { return fixed + k * per_expert; }
};

[[nodiscard]] TrainingFlops count_training_flops(const config::ModelConfig& model,
                                                 std::int64_t sequence_length);

}  // namespace switchyard::model
