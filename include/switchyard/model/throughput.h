// Floating-point operations of training, for the model FLOP utilisation (MFU).
#pragma once

#include <cstdint>

#include "switchyard/config/config.h"

namespace switchyard::model {

// Of the forward and backward pass of one token whose MoE layers choose k experts on average:
// 6 operations per matrix parameter that the token uses (the output head counted, the embedding
// not), and attention over a window of S tokens, 12 * layers * heads * head_dim * keys (scores and
// weighted sum: 2 * 2 * heads * head_dim for each key, three times for forward and backward). A
// causal token sees (S + 1) / 2 keys on average, another one S. Recomputation is not counted.
struct TrainingFlops {
  double fixed = 0.0;       // whatever the router does
  double per_expert = 0.0;  // for each expert per token

  [[nodiscard]] double per_token(double k) const { return fixed + k * per_expert; }
};

// `labels_per_token`: share of the tokens that the head sees.
[[nodiscard]] TrainingFlops count_training_flops(const config::ModelConfig& model,
                                                 std::int64_t sequence_length,
                                                 double labels_per_token = 1.0);
// Of pretraining as `config` says: an encoder's head sees the tokens that are to be guessed.
[[nodiscard]] TrainingFlops pretraining_flops(const config::Config& config);

}  // namespace switchyard::model
