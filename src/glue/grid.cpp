#include "glue/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <utility>

#include "glue/seed_run.h"
#include "switchyard/config/begin.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/optim/schedule.h"

namespace switchyard::glue {
namespace {

std::vector<PreparedTask> prepare_tasks(const FinetuneOptions& options, Start& start) {
  std::vector<PreparedTask> tasks;
  for (const Task* task : options.tasks) {
    tasks.push_back(prepare_task(*task, options.data, start, options.submission));
  }
  if (tasks.empty()) {
    tasks.push_back(prepare_custom_task(options.data, start, options.submission));
  }
  return tasks;
}

// The number of steps, and with it whether the schedule's phases have room, is each task's own.
void check_schedules(const Grid& grid) {
  std::vector<std::string> problems;
  for (const PreparedTask& prepared : grid.tasks) {
    config::Config config = possible_runs(grid, prepared).front();
    config.schedule.steps = config.train.steps;  // the number that is said
    try {
      (void)optim::Schedule(config.schedule, config.optim.learning_rate, config.train.steps);
    } catch (const UsageError& error) {
      problems.push_back(fmt::format(
          "{}: {} in batches of {}, {} times over, make {}: {}", prepared.task.folder,
          counted(prepared.conditions.num_train_rows, "row"), config.train.global_batch_size,
          config.finetune.epochs, counted(config.train.steps, "step"), error.what()));
    }
  }
  if (problems.empty()) return;
  throw UsageError(
      join(problems, "\n"),
      "shorten schedule.warmup_steps or schedule.decay_steps (left out, they are a share "
      "of each task's steps), raise finetune.epochs, or give these tasks a command of "
      "their own");
}

}  // namespace

Grid open_grid(const FinetuneOptions& options, std::int64_t num_ranks) {
  Start start = open_start(options, num_ranks);
  std::vector<PreparedTask> tasks = prepare_tasks(options, start);
  Grid grid{.options = options, .start = std::move(start), .tasks = std::move(tasks)};
  check_schedules(grid);
  return grid;
}

Grid open_baseline_grid(const Grid& grid, std::int64_t num_ranks) {
  FinetuneOptions options = grid.options;
  options.from = grid.options.baseline;
  options.output = grid.options.output / "baseline";
  options.baseline.clear();
  options.submission = false;
  options.overrides = settings_of(grid.start);
  // What is said of the model, its routers and their losses, here or in the file, is not of the
  // baseline's; all else of the file is among the settings.
  options.config_file.clear();
  options.tokenizer.clear();
  const std::vector<std::string>& given = grid.options.overrides;
  std::copy_if(given.begin(), given.end(), std::back_inserter(options.overrides),
               [](const std::string& text) {
                 const auto keys = config::settings_in(std::span(&text, 1));
                 return std::none_of(keys.begin(), keys.end(), [](const auto& setting) {
                   return setting.first.starts_with("model.") || setting.first.starts_with("data.");
                 });
               });
  return open_grid(options, num_ranks);
}

std::vector<double> learning_rates_of(const Start& start) {
  const std::vector<double>& rates = start.config.finetune.learning_rates;
  return rates.empty() ? std::vector<double>{start.config.optim.learning_rate} : rates;
}

std::filesystem::path folder_of_rate(const Grid& grid, const PreparedTask& prepared,
                                     double learning_rate) {
  const std::filesystem::path folder = grid.options.output / prepared.task.name;
  if (grid.start.config.finetune.learning_rates.empty()) return folder;
  return folder / fmt::format("lr-{}", learning_rate);
}

std::vector<config::Config> possible_runs(const Grid& grid, const PreparedTask& prepared) {
  std::vector<config::Config> runs;
  for (const double rate : learning_rates_of(grid.start)) {
    const std::filesystem::path folder = folder_of_rate(grid, prepared, rate);
    for (std::int64_t seed = 0; seed < grid.options.num_seeds; ++seed) {
      runs.push_back(config_of_seed(grid.start, prepared, folder, seed, rate));
    }
  }
  return runs;
}

}  // namespace switchyard::glue
