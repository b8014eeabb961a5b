#include "switchyard/glue/finetune.h"

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "glue/baseline.h"
#include "glue/classification_task.h"
#include "glue/fine_tuned.h"
#include "glue/output_folder.h"
#include "glue/prepared_task.h"
#include "glue/report_page.h"
#include "glue/seed_run.h"
#include "glue/start.h"
#include "switchyard/comm/self.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/ops/device.h"
#include "switchyard/telemetry/report.h"
#include "switchyard/train/stop_signal.h"
#include "train/run/run_ranks.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSubmission = "submission";

// What dev says of a seed, by the task's first metric; less than anything for one that diverged or
// whose metric is no number.
double worth_of(const SeedResult& result, const Task& task) {
  constexpr double kNothing = -std::numeric_limits<double>::infinity();
  if (result.diverged) return kNothing;
  const double value = result.dev.front().metrics.at(metric_name(task.metrics.front()));
  return std::isnan(value) ? kNothing : value;
}

// The runs of a task with one learning rate are in a folder of their own where dev chooses one.
fs::path folder_of_rate(const fs::path& output, const Task& task, const Start& start,
                        double learning_rate) {
  const fs::path folder = output / task.name;
  if (start.config.finetune.learning_rates.empty()) return folder;
  return folder / fmt::format("lr-{:g}", learning_rate);
}

// Of the first seed.
double choose_learning_rate(const SeedRun& run, const fs::path& output, TaskResult& result) {
  const std::vector<double>& rates = run.start.config.finetune.learning_rates;
  if (rates.empty()) return run.start.config.optim.learning_rate;
  std::optional<double> best;
  for (const double rate : rates) {
    const fs::path folder = folder_of_rate(output, run.prepared.task, run.start, rate);
    const SeedResult seed = run_seed(run, config_of_seed(run.start, run.prepared, folder, 0, rate));
    const double worth = worth_of(seed, run.prepared.task);
    result.tried_rates.emplace_back(rate, worth);
    if (!best || worth > *best) {
      best = worth;
      result.learning_rate = rate;
    }
  }
  log::info("{}: learning rate {:g} did best on dev", run.prepared.task.folder,
            result.learning_rate);
  return result.learning_rate;
}

// The files of the GLUE site, by the model of the seed that did best on dev.
void write_submission(const PreparedTask& prepared, const config::Config& config,
                      const fs::path& output) {
  const FineTuned best = load_best(config, prepared.task, config.run.dir);
  const fs::path folder = output / kSubmission;
  fs::create_directories(folder);
  for (const PreparedTask::Test& test : prepared.test) {
    const Predictions predicted = predict(*best.classifier, prepared.task, test.encoded,
                                          config.finetune.max_length, {.step = best.step})
                                      .value();
    write_file_atomically(folder / test.file.submission,
                          submission_text(prepared.task, test.rows.rows, predicted.value));
    log::info("wrote {}", (folder / test.file.submission).string());
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

TaskResult run_task(const SeedRun& run, const FinetuneOptions& options) {
  const PreparedTask& prepared = run.prepared;
  std::vector<const std::vector<Row>*> dev;
  for (const RowSet& rows : prepared.dev_rows) dev.push_back(&rows.rows);
  TaskResult result{.task = prepared.task,
                    .num_train_rows = std::ssize(prepared.data.train.rows),
                    .learning_rate = run.start.config.optim.learning_rate,
                    .majority = majority_metrics(prepared.task, dev),
                    .seeds = {}};
  const double rate = choose_learning_rate(run, options.output, result);
  const fs::path folder = folder_of_rate(options.output, prepared.task, run.start, rate);
  std::vector<config::Config> configs;
  for (std::int64_t seed = 0; seed < options.num_seeds; ++seed) {
    configs.push_back(config_of_seed(run.start, prepared, folder, seed, rate));
    result.seeds.push_back(run_seed(run, configs.back()));
  }
  const std::size_t best = best_seed(result);
  if (!options.submission || !train::RunRanks(run.world).leads()) return result;
  if (result.seeds[best].diverged) {
    log::warning("{}: all seeds diverged: no submission", prepared.task.folder);
  } else {
    write_submission(prepared, configs[best], options.output);
  }
  return result;
}

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

// Of results that are there, or of a run that is fine-tuned for it, before anything else is.
Medians medians_of_baseline(const FinetuneOptions& options, const std::vector<PreparedTask>& tasks,
                            comm::Communicator& world) {
  if (options.baseline.empty()) return {};
  if (fs::exists(options.baseline / kTableName)) {
    std::vector<std::string> names;
    for (const PreparedTask& prepared : tasks) names.push_back(prepared.task.name);
    return read_medians(options.baseline, names);
  }
  FinetuneOptions same = options;
  same.from = options.baseline;
  same.output = options.output / "baseline";
  same.baseline.clear();
  same.submission = false;
  if (options.from.empty()) {
    same.config_file.clear();
    same.tokenizer.clear();
  }
  return medians_of(finetune(same, world));
}

}  // namespace

std::vector<TaskResult> finetune(const FinetuneOptions& options, comm::Communicator& world) {
  const bool leads = train::RunRanks(world).leads();
  Start start = open_start(options, world.size());
  const std::vector<PreparedTask> tasks = prepare_tasks(options, start);
  const Medians baseline = medians_of_baseline(options, tasks, world);
  if (leads) {
    claim_output(options.output, start, tasks);
    log::add_file(options.output / "log.txt");
  }
  world.barrier("output folder");
  if (start.config.train.deterministic) ops::make_deterministic();
  const train::StopSignal stop;
  std::vector<TaskResult> results;
  for (const PreparedTask& prepared : tasks) {
    TaskResult result =
        run_task({.start = start, .prepared = prepared, .world = world, .stop = stop}, options);
    const auto compared = baseline.find(result.task.name);
    if (compared != baseline.end()) result.baseline = compared->second;
    results.push_back(std::move(result));
    if (!leads) continue;
    write_file_atomically(options.output / "results.md", results_markdown(results));
    write_file_atomically(options.output / kTableName, results_json(results));
    write_file_atomically(options.output / telemetry::kReportName,
                          report_page(options.output.filename().string(), results));
  }
  return results;
}

std::vector<TaskResult> finetune(const FinetuneOptions& options) {
  return finetune(options, *comm::make_self_communicator());
}

}  // namespace switchyard::glue
