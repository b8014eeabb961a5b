// From a configuration or a checkpoint to the objects of a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/config.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/model/decoder.h"
#include "switchyard/ops/parameter.h"
#include "switchyard/optim/adamw.h"

namespace switchyard::train {

// Sets model.vocab_size to the tokenizer's where the config leaves it out. Throws UsageError where
// the config has fewer.
void fill_vocab_size(config::Config& config, const data::Tokenizer& tokenizer);

// How often the run reads its data. `windows_per_epoch`: of the training split.
[[nodiscard]] double count_epochs(const config::Config& config, std::int64_t windows_per_epoch);

// What pretraining starts from.
struct Build {
  config::Config config;  // with the vocabulary size filled in
  data::SampleSource training;
  std::optional<data::SampleSource> validation;  // none when the split has no full window
  std::unique_ptr<model::Decoder> decoder;       // initialised from the seed
};

// Opens the data and makes the model. Warns of settings that surely are not meant. Throws
// UsageError for settings that do not fit the data, DataError for data that cannot be read.
[[nodiscard]] Build build(const config::Config& config);

// A checkpoint, ready to compute.
struct LoadedModel {
  std::filesystem::path folder;  // of the checkpoint
  config::Config config;         // of the run that wrote it
  data::Tokenizer tokenizer;
  std::unique_ptr<model::Decoder> decoder;
  std::int64_t step = 0;  // training steps done
};

// `path`: a run (its last checkpoint) or a checkpoint. `precision`: instead of the run's; empty =
// the run's. `device`: as train.device. Throws DataError when a file is damaged or a tensor is
// missing, unknown or has the wrong shape.
[[nodiscard]] LoadedModel load_model(const std::filesystem::path& path,
                                     const std::string& precision = "",
                                     const std::string& device = "cpu");

// The config of the run that wrote a checkpoint. Throws DataError when this version cannot read it.
[[nodiscard]] config::Config config_of(const checkpoint::Checkpoint& checkpoint);

// The weights and router state of a model under the names that files use; the request's other
// members are left empty. Tensors are views of the masters.
[[nodiscard]] checkpoint::SaveRequest save_request(model::Model& model);

// Adam's moments under the names NAME.exp_avg and NAME.exp_avg_sq; views.
void add_moments(checkpoint::SaveRequest& request, const optim::AdamW& optimizer);
// The opposite, in place. Throws DataError naming `source` and the tensor.
void load_moments(const optim::AdamW& optimizer, const std::map<std::string, at::Tensor>& moments,
                  const std::string& source);

// The opposite of save_request; load_weights publishes every parameter. Throw DataError
// naming `source` and the tensor.
void load_weights(model::Model& model, const std::map<std::string, at::Tensor>& weights,
                  const std::string& source);
void load_router_state(model::Model& model, const std::map<std::string, at::Tensor>& state,
                       const std::string& source);

}  // namespace switchyard::train
