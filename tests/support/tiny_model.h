// A model of seconds and data that it can learn.
#pragma once

#include <cstdint>
#include <string>

#include "switchyard/config/config.h"
#include "switchyard/core/philox.h"
#include "switchyard/data/sample_source.h"

namespace switchyard::testing {

inline constexpr std::int64_t kTinyVocab = 48;

// Two blocks: a dense one and one of 4 experts.
inline config::Config tiny_config(const std::string& precision = "fp32") {
  config::Config config;
  config.run.seed = 7;
  config.data.sequence_length = 16;
  config.model.vocab_size = kTinyVocab;
  config.model.hidden_size = 32;
  config.model.num_layers = 2;
  config.model.num_heads = 2;
  config.model.num_kv_heads = 2;
  config.model.head_dim = 16;
  config.model.ffn_size = 48;
  config.model.moe.num_experts = 4;
  config.model.moe.expert_size = 24;
  config.model.moe.layers = {1};
  config.model.moe.loss.dynamic = 1e-4;
  config.model.moe.loss.normalize = "tokens";
  config.optim.learning_rate = 1e-2;
  config.schedule.warmup_steps = 4;
  config.train.steps = 60;
  config.train.global_batch_size = 8;
  config.train.micro_batch_size = 8;
  config.train.precision = precision;
  return config;
}

// Each id decides the next but for one random choice in eight: about 0.6 nats are left to guess.
inline data::Sample tiny_window(std::int64_t idx, std::int64_t sequence_length) {
  data::Sample sample;
  std::int32_t id = static_cast<std::int32_t>(idx % kTinyVocab);
  for (std::int64_t i = 0; i <= sequence_length; ++i) {
    sample.token.push_back(id);
    const PhiloxCounter random = philox(
        philox_key(99), {static_cast<std::uint32_t>(idx), static_cast<std::uint32_t>(i), 0, 0});
    id = static_cast<std::int32_t>(random[0] % 8 == 0 ? random[1] % kTinyVocab
                                                      : (id * 5 + 3) % kTinyVocab);
  }
  return sample;
}

}  // namespace switchyard::testing
