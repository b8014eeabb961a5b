#include "switchyard/glue/predict.h"

#include <algorithm>
#include <vector>

#include "glue/classification_task.h"
#include "glue/files/custom.h"
#include "glue/files/table_text.h"
#include "glue/fine_tuned.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/standard_input.h"
#include "switchyard/core/text.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/results.h"
#include "switchyard/glue/rows.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

// Of a finished run that came to something; the name of its task.
std::string finished_task(const fs::path& run) {
  const fs::path file = run / config::kSeedResultsName;
  const std::string name = file.string();
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    throw UsageError(fmt::format("{} is no finished fine-tuning (no {})", run.string(),
                                 config::kSeedResultsName),
                     "give a folder such as OUTPUT/mrpc/seed-1 of `switchyard finetune`");
  }
  const format::Json json = format::parse_json(read_file(file), name);
  if (json.contains("diverged") && format::json_bool(json, "diverged", name)) {
    throw UsageError(fmt::format("{}: its training diverged: there is no model to label text with",
                                 run.string()),
                     "give the folder of another seed");
  }
  return format::json_string(json, "task", name);
}

// The task's columns of text, and where the header has it that of the index, by the name that the
// task's test file gives it or as `index`.
File columns_of(const Task& task, std::string_view text) {
  File file{.name = {}, .suffix = {}, .submission = {}, .columns = task.train.columns};
  file.columns.label.clear();
  std::string header = "\t";
  header += text.substr(0, text.find_first_of("\r\n"));
  header += "\t";
  for (const std::string& index : {std::string("index"), task.test.front().columns.index}) {
    if (header.find("\t" + index + "\t") != std::string::npos) file.columns.index = index;
  }
  return file;
}

}  // namespace

std::string predict_file(const PredictOptions& options) {
  const std::string task_name = finished_task(options.run);
  std::vector<std::string> overrides;
  if (!options.device.empty()) {
    // Experts are computed in a way that this device knows.
    overrides = {"train.device=" + options.device, "model.moe.compute=auto"};
  }
  const config::Config config =
      config::load(options.run / config::kResolvedConfigName, overrides).config;
  const Task task =
      task_name == kCustom ? custom_task(config.finetune) : *parse_tasks(task_name).front();
  const std::string name = input_name(options.input);
  const std::string text = read_table(options.input, "switchyard predict ... --input -");
  const RowSet set = task.name == kCustom
                         ? parse_custom_rows(text, name, task, config.finetune, Part::test)
                         : parse_rows(text, name, task, columns_of(task, text), Part::test);
  const auto tokenizer = data::Tokenizer::load(best_checkpoint(options.run));
  const std::int64_t max_length = config.finetune.max_length;
  const EncodedSet encoded = encode_rows(
      task, set.rows, tokenizer, {.max_length = max_length, .causal = config.model.is_causal()});
  const FineTuned model = load_fine_tuned(config, task, best_checkpoint(options.run));
  return submission_text(task, set.rows, predict(model, config, task, encoded).value);
}

}  // namespace switchyard::glue
