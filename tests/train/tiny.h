// A model of seconds and data that it can learn, for the tests of this folder.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/core/philox.h"
#include "switchyard/model/decoder.h"
#include "switchyard/train/build.h"
#include "switchyard/train/device.h"
#include "switchyard/train/trainer.h"

namespace switchyard::train {

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

inline TrainingData tiny_data(std::int64_t sequence_length) {
  return {
      .window = [sequence_length](std::int64_t idx) { return tiny_window(idx, sequence_length); }};
}

struct TinyRun {
  explicit TinyRun(const config::Config& config)
      : TinyRun(config, comm::make_self_communicator(), tiny_data(config.data.sequence_length)) {}
  // One rank of several.
  TinyRun(const config::Config& config, std::unique_ptr<comm::Communicator> world,
          TrainingData data)
      : decoder(std::make_unique<model::Decoder>(
            config.model, config.data.sequence_length,
            precision_policy(config.train.precision, device_of(config.train.device)))),
        communicator(std::move(world)),
        groups(std::make_unique<parallel::RankGroups>(*communicator, config.parallel.expert)) {
    decoder->initialize(config.run.seed);
    trainer = std::make_unique<Trainer>(config, *decoder, *groups, std::move(data));
  }

  [[nodiscard]] std::vector<telemetry::StepSums> train(std::int64_t num_steps) const {
    std::vector<telemetry::StepSums> steps;
    for (std::int64_t i = 0; i < num_steps; ++i) steps.push_back(trainer->train_step());
    return steps;
  }

  // Copies of all masters.
  [[nodiscard]] std::vector<at::Tensor> weights() const {
    std::vector<at::Tensor> copies;
    for (const ops::Parameter* parameter : decoder->parameters()) {
      copies.push_back(parameter->master.detach().clone());
    }
    return copies;
  }

  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<comm::Communicator> communicator;
  std::unique_ptr<parallel::RankGroups> groups;
  std::unique_ptr<Trainer> trainer;
};

// The objective that the step minimised, added up from its parts.
inline double objective_of(const telemetry::StepSums& sums, const config::MoeLossConfig& loss) {
  double objective = sums.lm_loss;
  for (const telemetry::LayerSums& layer : sums.layers) {
    objective += loss.load_balance * layer.losses.load_balance +
                 loss.dynamic * layer.losses.dynamic + loss.z * layer.losses.z;
  }
  return objective;
}

}  // namespace switchyard::train
