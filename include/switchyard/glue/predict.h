// `switchyard predict`: labels new text with a fine-tuned model.
#pragma once

#include <filesystem>
#include <string>

namespace switchyard::glue {

struct PredictOptions {
  std::filesystem::path run;  // of one task and seed, as finetune made it
  std::string input;          // a file of tab-separated values, or "-"
  std::string device{};       // as train.device; empty: the run's
};

// `input` has a header that names the task's columns of text; others are passed over. Of a task of
// the user's own a name that ends in .jsonl is of JSON lines. Returns lines
// `index`, `prediction` (the label's name, or the score) under a header, rows counted from 0 unless
// the file has a column `index`. Throws UsageError when the run is not a finished fine-tuning or
// diverged, DataError naming file and line for what is wrong with the input.
[[nodiscard]] std::string predict_file(const PredictOptions& options);

}  // namespace switchyard::glue
