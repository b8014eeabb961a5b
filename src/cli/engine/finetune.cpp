// `switchyard finetune`.
#include "switchyard/glue/finetune.h"

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/terminal.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {

int run_finetune(const config::ParsedArguments& arguments) {
  const std::string from = arguments.text("--from");
  glue::FinetuneOptions options{.tasks = glue::parse_tasks(arguments.text("--task")),
                                .data = arguments.text("--data"),
                                .from = from == "none" ? "" : from,
                                .config_file = arguments.text("CONFIG.yaml"),
                                .tokenizer = arguments.text("--tokenizer"),
                                .output = arguments.text("--output"),
                                .num_seeds = arguments.integer("--seeds"),
                                .submission = arguments.has("--submission"),
                                .overrides = arguments.overrides()};
  train::outlive_closed_output();
  write_stdout(glue::results_markdown(glue::finetune(options)));
  return kExitDone;
}

}  // namespace switchyard::cli
