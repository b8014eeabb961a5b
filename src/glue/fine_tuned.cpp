#include "glue/fine_tuned.h"

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/folders.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/precision.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

model::Pooling pooling_of(const config::Config& config, const Task& task) {
  const std::string pooling = pooling_for(config, task);
  if (pooling == "pair") return model::Pooling::pair;
  if (pooling == "first") return model::Pooling::first;
  return pooling == "last" ? model::Pooling::last : model::Pooling::mean;
}

// Whose model has as many weights: a classifier has no output matrix beside the embedding.
config::Config config_to_count(config::Config config) {
  config.model.tie_embeddings = true;
  return config;
}

// Initialised from the seed.
std::unique_ptr<model::Classifier> allocate(const config::Config& config, const Task& task) {
  auto classifier = std::make_unique<model::Classifier>(
      config.model, config.finetune.max_length, static_cast<std::int64_t>(task.num_outputs()),
      pooling_of(config, task),
      ops::precision_policy(config.train.precision, ops::device_of(config.train.device)));
  classifier->initialize(config.run.seed);
  return classifier;
}

}  // namespace

std::string pooling_for(const config::Config& config, const Task& task) {
  if (config.finetune.pooling != "pair" || task.has_pairs()) return config.finetune.pooling;
  return config.model.is_causal() ? "last" : "mean";
}

std::unique_ptr<model::Classifier> make_classifier(const config::Config& config, const Task& task) {
  train::check_room_for_state(config_to_count(config), ops::device_of(config.train.device));
  return allocate(config, task);
}

fs::path best_checkpoint(const fs::path& run) {
  const fs::path checkpoints = run / config::kCheckpointsFolderName;
  const fs::path best = checkpoint::pointed_at(checkpoints, checkpoint::kBest);
  return best.empty() ? config::named_checkpoint(run, "latest") : best;
}

FineTuned load_fine_tuned(const config::Config& config, const Task& task, const fs::path& step) {
  const auto saved = checkpoint::Checkpoint::open_step(step);
  train::check_room_for_weights(config_to_count(config), ops::device_of(config.train.device));
  FineTuned best{.classifier = allocate(config, task), .step = saved.step()};
  train::load_weights(*best.classifier, saved.weights());
  train::load_router_state(*best.classifier, saved.router_state());
  return best;
}

Predictions predict(const FineTuned& model, const config::Config& config, const Task& task,
                    const EncodedSet& rows, const inference::RankShare& ranks) {
  return predict(*model.classifier, task, rows, config.finetune.max_length,
                 {.step = model.step,
                  .micro_batch_size = config.train.micro_batch_size,
                  .ranks = ranks})
      .value();
}

}  // namespace switchyard::glue
