// From a configuration or a checkpoint to the objects of a run.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/config.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/model/decoder.h"
#include "switchyard/model/encoder.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::train {

// Sets model.vocab_size to the tokenizer's where the config leaves it out, for an encoder with its
// special tokens. Throws UsageError where the config has fewer.
void fill_vocab_size(config::Config& config, const data::Tokenizer& tokenizer);

// config.data as its windows are cut: an encoder adds a special token at both ends of each.
[[nodiscard]] config::DataConfig windows_of(const config::Config& config);

// How often the run reads its data. `windows_per_epoch`: of the training split.
[[nodiscard]] double count_epochs(const config::Config& config, std::int64_t windows_per_epoch);

// What no change of the batch makes smaller, asked before any of it is made: a model too large
// comes in many small allocations, of which the system grants every one until it ends the process.
// Throw OutOfMemoryError where the memory of the device, or this machine's and its swap, are less,
// and UsageError for sizes beyond 64 bits; warn where it is the swap that makes it fit. The
// vocabulary size has to be set.
//
// To train: weights, gradients and moments, of all ranks of this machine on its CPUs.
void check_room_for_state(const config::Config& config, c10::Device device);
// To compute in one process: weights alone.
void check_room_for_weights(const config::Config& config, c10::Device device);

// What pretraining starts from.
struct Build {
  config::Config config;  // with the vocabulary size filled in
  data::SampleSource training;
  std::optional<data::SampleSource> validation;  // none when the split has no full window
  // Initialised from the seed. One of them, by config.model.type.
  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<model::Encoder> encoder;
};

// Opens the data and makes the model, of whose experts this rank holds those of `placement`. Warns
// of settings that surely are not meant. Throws UsageError for settings that do not fit the data,
// DataError for data that cannot be read, and as check_room_for_state() does.
[[nodiscard]] Build build(const config::Config& config, moe::ExpertPlacement placement = {});

// A decoder's checkpoint, ready to compute.
struct LoadedModel {
  std::filesystem::path folder;  // of the checkpoint
  config::Config config;         // of the run that wrote it
  data::Tokenizer tokenizer;
  std::unique_ptr<model::Decoder> decoder;
  std::int64_t step = 0;  // training steps done
};

struct LoadOptions {
  std::string precision{};     // empty: the run's
  std::string device = "cpu";  // as train.device
  bool is_calibrated = true;   // at the temperature that was kept with it; false: 1, nothing read
};

// `path`: a run (its last checkpoint) or a checkpoint. Throws DataError when a file is damaged or a
// tensor is missing, unknown or has the wrong shape, UsageError for an encoder, and as
// check_room_for_weights() does.
[[nodiscard]] LoadedModel load_model(const std::filesystem::path& path,
                                     const LoadOptions& options = {});

// The config of the run that wrote a checkpoint. Throws DataError when this version cannot read it.
[[nodiscard]] config::Config config_of(const checkpoint::Checkpoint& checkpoint);

}  // namespace switchyard::train
