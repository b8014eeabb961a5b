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

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
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

// Everything that can be wrong with the input is found before anything is trained. A seed that
// diverges is a result that says so; the others go on. Throws UsageError, DataError and
// StorageError, and what else train::pretrain throws while it trains.
[[nodiscard]] std::vector<TaskResult> finetune(const FinetuneOptions& options);
// The same as one of several data-parallel ranks, which all call it with equal options and see the
// same files. Rank 0 alone writes and talks. Errors are as train::pretrain's.
[[nodiscard]] std::vector<TaskResult> finetune(const FinetuneOptions& options,
                                               comm::Communicator& world);
// Throws as finetune() does for what is wrong with a checkpoint or with settings.
[[nodiscard]] config::Config config_of(const FinetuneOptions& options, std::int64_t num_ranks);

}  // namespace switchyard::glue
