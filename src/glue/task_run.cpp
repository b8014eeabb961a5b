#include "glue/task_run.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "glue/classification_task.h"
#include "glue/fine_tuned.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "train/run/run_ranks.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

// What dev says of a seed, by the task's first metric; kNothing for one that diverged or whose
// metric is no number.
double worth_of(const SeedResult& result, const Task& task) {
  if (result.diverged) return kNothing;
  const double value = result.dev.front().metrics.at(metric_name(task.metrics.front()));
  return std::isnan(value) ? kNothing : value;
}

void tell_that_no_rate_is_left(const TaskResult& result, std::uint64_t seed,
                               std::int64_t num_diverged) {
  std::vector<std::string> rates;
  for (const auto& [rate, worth] : result.tried_rates) rates.push_back(fmt::format("{}", rate));
  const std::int64_t num_rates = std::ssize(rates);
  const std::string how =
      num_diverged == num_rates ? "diverged"
      : num_diverged == 0
          ? fmt::format("had no {} on dev", metric_name(result.task.metrics.front()))
          : fmt::format("diverged or had no {} on dev", metric_name(result.task.metrics.front()));
  log::error("{}: no learning rate to train with: seed {} {} with {} {}", result.task.folder, seed,
             how, num_rates == 1 ? "the only one of finetune.learning_rates," : "all of",
             join(rates, ", "));
  log::write_hint(
      "add smaller ones to finetune.learning_rates (the same --output goes on with them), or set "
      "optim.clip_norm; the other tasks go on");
}

// By the first seed. None where all come to nothing.
std::optional<double> choose_learning_rate(const SeedRun& run, const Grid& grid,
                                           TaskResult& result) {
  const bool leads = train::RunRanks(run.world).leads();
  const PreparedTask& prepared = run.prepared;
  if (run.start.config.finetune.learning_rates.empty()) return run.start.config.optim.learning_rate;
  double best = kNothing;
  std::int64_t num_diverged = 0;
  for (const double rate : learning_rates_of(run.start)) {
    const fs::path folder = folder_of_rate(grid, prepared, rate);
    const SeedResult seed =
        run_seed(run, config_of_seed(run.start, prepared, folder, /*seed_idx=*/0, rate));
    const double worth = worth_of(seed, prepared.task);
    result.tried_rates.emplace_back(rate, worth);
    num_diverged += seed.diverged ? 1 : 0;
    if (worth > best) {
      best = worth;
      result.learning_rate = rate;
    }
  }
  if (best == kNothing) {
    result.learning_rate = std::numeric_limits<double>::quiet_NaN();
    if (leads) tell_that_no_rate_is_left(result, run.start.config.run.seed, num_diverged);
    return std::nullopt;
  }
  if (leads) {
    log::info("{}: learning rate {} did best on dev", prepared.task.folder, result.learning_rate);
  }
  return result.learning_rate;
}

// The files of the GLUE site, by the model of the seed that did best on dev: predicted by all
// ranks, written by the leader.
void write_submission(const SeedRun& run, const config::Config& config, const fs::path& output) {
  const PreparedTask& prepared = run.prepared;
  train::RunRanks ranks(run.world);
  const FineTuned best = load_best_of_leader(run, config);
  const fs::path folder = output / config::kSubmissionFolderName;
  for (const PreparedTask::Test& test : prepared.test) {
    const Predictions predicted = predict(best, config, prepared.task, test.encoded, ranks.share());
    if (!ranks.leads()) continue;
    const std::string file = (folder / test.file.submission).string();
    const bool is_written = run.side_work.attempt("writing " + file, best.step, [&] {
      fs::create_directories(folder);
      write_file_atomically(file, submission_text(prepared.task, test.rows.rows, predicted.value));
    });
    if (is_written) log::info("wrote {}", file);
  }
}

std::size_t best_seed(const TaskResult& result) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < result.seeds.size(); ++i) {
    const SeedResult& seed = result.seeds[i];
    const bool is_first = result.seeds[best].diverged && !seed.diverged;
    const bool is_better = worth_of(seed, result.task) > worth_of(result.seeds[best], result.task);
    if (is_first || (is_better && !seed.diverged)) best = i;
  }
  return best;
}

}  // namespace

TaskResult run_task(const SeedRun& run, const Grid& grid) {
  const PreparedTask& prepared = run.prepared;
  std::vector<const std::vector<Row>*> dev;
  for (const RowSet& rows : prepared.dev_rows) dev.push_back(&rows.rows);
  TaskResult result{.task = prepared.task,
                    .conditions = prepared.conditions,
                    .learning_rate = run.start.config.optim.learning_rate,
                    .majority = majority_metrics(prepared.task, dev),
                    .seeds = {}};
  const std::optional<double> rate = choose_learning_rate(run, grid, result);
  if (!rate) return result;
  const fs::path folder = folder_of_rate(grid, prepared, *rate);
  std::vector<config::Config> configs;
  for (std::int64_t seed = 0; seed < grid.options.num_seeds; ++seed) {
    configs.push_back(config_of_seed(run.start, prepared, folder, seed, *rate));
    result.seeds.push_back(run_seed(run, configs.back()));
  }
  if (!grid.options.submission) return result;
  const std::size_t best = best_seed(result);
  if (!result.seeds[best].diverged) {
    write_submission(run, configs[best], grid.options.output);
  } else if (train::RunRanks(run.world).leads()) {
    log::warning("{}: all seeds diverged: no submission", prepared.task.folder);
  }
  return result;
}

}  // namespace switchyard::glue
