// `switchyard finetune`.
#include "switchyard/glue/finetune.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cli/engine/on_ranks.h"
#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/ranks.h"
#include "switchyard/core/terminal.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {

int run_finetune(const config::ParsedArguments& arguments) {
  const std::string from = arguments.text("--from");
  glue::FinetuneOptions options{.tasks = arguments.text("--task") == "custom"
                                             ? std::vector<const glue::Task*>()
                                             : glue::parse_tasks(arguments.text("--task")),
                                .data = arguments.text("--data"),
                                .from = from == "none" ? "" : from,
                                .config_file = arguments.text("CONFIG.yaml"),
                                .tokenizer = arguments.text("--tokenizer"),
                                .output = arguments.text("--output"),
                                .baseline = arguments.text("--baseline"),
                                .num_seeds = arguments.integer("--seeds"),
                                .submission = arguments.has("--submission"),
                                .overrides = arguments.overrides()};
  train::outlive_closed_output();
  bool diverged = false;
  const auto work = [&](comm::Communicator& world) {
    glue::FinetuneOptions told = options;
    told.at_end = [&](const std::vector<glue::TaskResult>& results) {
      diverged = std::any_of(results.begin(), results.end(), [](const glue::TaskResult& result) {
        return result.num_diverged() > 0 || result.lacks_a_rate();
      });
      if (world.rank() == 0) write_stdout(glue::results_markdown(results));
    };
    (void)glue::finetune(told, world);
  };
  const std::int64_t num_ranks = read_rank_environment().num_ranks;
  const int code = on_ranks(glue::config_of(options, num_ranks), arguments.debug(), work);
  return code == kExitDone && diverged ? kExitNonFinite : code;
}

}  // namespace switchyard::cli
