// A classifier for a task: new, or as a finished run left it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "glue/classification_task.h"
#include "switchyard/config/config.h"
#include "switchyard/glue/tasks.h"
#include "switchyard/model/classifier.h"

namespace switchyard::glue {

// finetune.pooling as it is done to the rows of the task: of one text there is no `pair`.
[[nodiscard]] std::string pooling_for(const config::Config& config, const Task& task);

// Initialised from the seed.
[[nodiscard]] std::unique_ptr<model::Classifier> make_classifier(const config::Config& config,
                                                                 const Task& task);

// The folder of a run's best checkpoint, or of its last one.
[[nodiscard]] std::filesystem::path best_checkpoint(const std::filesystem::path& run);

struct FineTuned {
  std::unique_ptr<model::Classifier> classifier;
  std::int64_t step = 0;  // of the checkpoint
};
// Of a run's checkpoint. Throws as checkpoint::Checkpoint and its tensors do.
[[nodiscard]] FineTuned load_fine_tuned(const config::Config& config, const Task& task,
                                        const std::filesystem::path& step);

// What it says of `rows`, in passes that fit in what its training took; by all ranks that share
// them. A collective where there are several.
[[nodiscard]] Predictions predict(const FineTuned& model, const config::Config& config,
                                  const Task& task, const EncodedSet& rows,
                                  const inference::RankShare& ranks = {});

}  // namespace switchyard::glue
