// `switchyard finetune`: a pretrained model, trained for one GLUE task after the other, with
// several seeds each.
//
// The output folder holds, for every task and seed, a run (TASK/seed-N) with eval_results.json and
// predictions.tsv, and over all of them results.md, results.json and report.html. The same command
// again goes on where it was stopped: what is finished is read, a run in the middle is resumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/glue/results.h"
#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

struct FinetuneOptions {
  std::vector<const Task*> tasks = {};  // of GLUE; none: a task of the user's own
  // The folder that holds CoLA, SST-2, ...; of a task of one's own train, dev and test, each as
  // .tsv or .jsonl.
  std::filesystem::path data;
  // A run or a checkpoint; empty: from scratch, with a config and a tokenizer.
  std::filesystem::path from;
  std::filesystem::path config_file;  // settings; without `from` the model as well
  std::string tokenizer;              // `bytes` or a model file; only without `from`
  std::filesystem::path output;
  // What the results are compared with: the output folder of an earlier finetune(), judged on the
  // same dev rows, or a pretrained run, which is then fine-tuned with the same settings and seeds
  // below `output`; empty: nothing.
  std::filesystem::path baseline = {};
  std::int64_t num_seeds = 1;
  bool submission = false;
  std::vector<std::string> overrides = {};  // key=value
  // Called with all results before a file that could not be written becomes an error.
  std::function<void(const std::vector<TaskResult>& results)> at_end = {};
};

// Everything that can be wrong with the input, with the output folder and with the baseline's is
// found before anything is trained or written. A seed that diverges is a result that says so, and
// so is a task without a learning rate that comes to anything; the others go on. Throws UsageError,
// DataError and StorageError, and what else train::pretrain throws while it trains.
[[nodiscard]] std::vector<TaskResult> finetune(const FinetuneOptions& options);
// The same as one of several data-parallel ranks, which all call it with equal options and see the
// same files. Rank 0 alone writes and talks. Errors are as train::pretrain's.
[[nodiscard]] std::vector<TaskResult> finetune(const FinetuneOptions& options,
                                               comm::Communicator& world);
// Throws as finetune() does for what is wrong with a checkpoint or with settings.
[[nodiscard]] config::Config config_of(const FinetuneOptions& options, std::int64_t num_ranks);

}  // namespace switchyard::glue
