// A training of seconds on data that the model can learn.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "support/tiny_model.h"
#include "switchyard/comm/self.h"
#include "switchyard/config/config.h"
#include "switchyard/model/decoder.h"
#include "switchyard/ops/device.h"
#include "switchyard/parallel/expert_parallel.h"
#include "switchyard/train/build.h"
#include "switchyard/train/trainer.h"
#include "train/tasks/next_token_task.h"

namespace switchyard::train {

using testing::kTinyVocab;
using testing::tiny_config;
using testing::tiny_window;

inline NextTokenData tiny_data(std::int64_t sequence_length) {
  return {
      .window = [sequence_length](std::int64_t idx) { return tiny_window(idx, sequence_length); }};
}

struct TinyRun {
  explicit TinyRun(const config::Config& config)
      : TinyRun(config, comm::make_self_communicator(), tiny_data(config.data.sequence_length)) {}
  // One rank of several.
  TinyRun(const config::Config& config, std::unique_ptr<comm::Communicator> world,
          NextTokenData data)
      : TinyRun(config, std::move(world), std::move(data), ops::device_of(config.train.device)) {}
  TinyRun(const config::Config& config, std::unique_ptr<comm::Communicator> world,
          NextTokenData data, at::Device device)
      : communicator(std::move(world)),
        groups(std::make_unique<parallel::RankGroups>(*communicator, config.parallel.expert)),
        decoder(std::make_unique<model::Decoder>(
            config.model, config.data.sequence_length,
            ops::precision_policy(config.train.precision, device),
            parallel::expert_placement(*groups, config.model.moe.num_experts))),
        objective(*decoder, std::move(data)) {
    decoder->initialize(config.run.seed);
    trainer = std::make_unique<Trainer>(config, *decoder, objective, *groups);
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

  std::unique_ptr<comm::Communicator> communicator;
  std::unique_ptr<parallel::RankGroups> groups;
  std::unique_ptr<model::Decoder> decoder;
  NextTokenObjective objective;
  std::unique_ptr<Trainer> trainer;
};

// The objective that the step minimised, added up from its parts.
inline double objective_of(const telemetry::StepSums& sums, const config::MoeLossConfig& loss) {
  double objective = sums.lm_loss;
  for (const telemetry::LayerSums& layer : sums.layers) {
    objective += loss.load_balance * layer.losses.load_balance +
                 loss.dynamic * layer.losses.dynamic + loss.z * layer.losses.z + layer.weighted_l1;
  }
  return objective;
}

}  // namespace switchyard::train
