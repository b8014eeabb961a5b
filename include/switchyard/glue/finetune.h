// `switchyard finetune`: a pretrained encoder, trained for one GLUE task after the other, with
// several seeds each.
//
// The output folder holds, for every task and seed, a run (TASK/seed-N) with eval_results.json and
// predictions.tsv, and over all of them results.md and results.json. The same command again goes
// on where it was stopped: what is finished is read, a run in the middle is resumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "switchyard/glue/results.h"
#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

struct FinetuneOptions {
  std::vector<const Task*> tasks;
  std::filesystem::path data;  // the folder that holds CoLA, SST-2, ...
  // A run or a checkpoint of an encoder; empty: from scratch, with a config and a tokenizer.
  std::filesystem::path from;
  std::filesystem::path config_file;  // only without `from`
  std::string tokenizer;              // `bytes` or a model file; only without `from`
  std::filesystem::path output;
  std::int64_t num_seeds = 1;
  bool submission = false;
  std::vector<std::string> overrides = {};  // key=value
};

// Everything that can be wrong with the input is found before anything is trained. Throws
// UsageError, DataError and StorageError for it, and what train::pretrain throws while it trains.
[[nodiscard]] std::vector<TaskResult> finetune(const FinetuneOptions& options);

}  // namespace switchyard::glue
