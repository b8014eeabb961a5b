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

namespace switchyard::train {

// Compute in fp32, bf16 or fp64 on the CPU. Throws UsageError for another name.
[[nodiscard]] ops::PrecisionPolicy precision_policy(const std::string& precision);

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
  ops::PrecisionPolicy precision;
  data::Tokenizer tokenizer;
  std::unique_ptr<model::Decoder> decoder;
  std::int64_t step = 0;  // training steps done
};

// `path`: a run (its last checkpoint) or a checkpoint. `precision`: instead of the run's; empty =
// the run's. Throws DataError when a file is damaged or a tensor is missing, unknown or has the
// wrong shape.
[[nodiscard]] LoadedModel load_model(const std::filesystem::path& path,
                                     const std::string& precision = "");

// The weights and router state of a decoder under the names that files use; the request's other
// members are left empty. Tensors are views of the masters.
[[nodiscard]] checkpoint::SaveRequest save_request(model::Decoder& decoder);

// The opposite; publishes every parameter. Throws DataError naming `source` and the tensor.
void load_weights(model::Decoder& decoder, const std::map<std::string, at::Tensor>& weights,
                  const std::map<std::string, at::Tensor>& router_state, const std::string& source);

}  // namespace switchyard::train
