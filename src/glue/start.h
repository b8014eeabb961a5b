// What fine-tuning starts from: a checkpoint, or a config and a tokenizer; and the settings of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/checkpoint/tensor_files.h"
#include "switchyard/config/config.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/glue/finetune.h"
#include "switchyard/model/model.h"

namespace switchyard::glue {

// Opened once: a run that still trains may remove the checkpoint, or make another one of its name.
struct PretrainedModel {
  std::string folder;  // of the checkpoint
  checkpoint::TensorFiles weights;
  checkpoint::TensorFiles router_state;
  config::ModelConfig config;
};

struct Start {
  config::Config config;  // the model's as it was pretrained, training as fine-tuning wants it
  data::Tokenizer tokenizer;
  std::optional<PretrainedModel> model;          // none: from scratch
  std::string fingerprint;                       // of the checkpoint, or of the tokenizer
  std::vector<std::int64_t> fresh_routers = {};  // whose state is not the checkpoint's
  bool has_own_warmup = false;                   // schedule.warmup_steps was given
  bool has_own_micro_batch = false;              // train.micro_batch_size was given
  bool has_own_pooling = false;                  // finetune.pooling was given
};

// `num_ranks` share each batch out. Throws UsageError for settings that finetune decides itself or
// that do not fit the model or the ranks, and as config::load does; DataError and StorageError for
// files that cannot be read.
[[nodiscard]] Start open_start(const FinetuneOptions& options, std::int64_t num_ranks);

// How `start` is fine-tuned, as key=value: everything but its model and what follows from the
// model, the rows or the ranks. Another model that is given these is trained in the same way.
[[nodiscard]] std::vector<std::string> settings_of(const Start& start);

// Fills the trunk, which `config` made, from a pretrained model, whose head is left out; routers
// take over the state that means for them what it meant. Throws DataError when the other lacks a
// part of the trunk.
void load_trunk(model::Model& classifier, const config::ModelConfig& config,
                const PretrainedModel& pretrained);

}  // namespace switchyard::glue
