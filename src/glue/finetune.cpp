#include "switchyard/glue/finetune.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "glue/classification_task.h"
#include "glue/fine_tuned.h"
#include "glue/prepared_task.h"
#include "glue/start.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/self.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/config/resume.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/glue/metrics.h"
#include "switchyard/ops/device.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/model_files.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/stop_signal.h"
#include "train/run/report_at_end.h"
#include "train/run/resume_point.h"
#include "train/run/run_loop.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSubmission = "submission";
constexpr double kWarmupShare = 0.06;

// The start's settings with what follows from the rows, the seed and the place.
config::Config config_of_seed(const Start& start, const PreparedTask& prepared,
                              const fs::path& output, std::int64_t seed_idx) {
  config::Config config = start.config;
  config.run.seed += static_cast<std::uint64_t>(seed_idx);
  config.run.dir =
      (output / prepared.task->name / fmt::format("seed-{}", config.run.seed)).string();
  const auto rows = static_cast<double>(prepared.data.train.rows.size());
  const double batches_per_epoch = rows / static_cast<double>(config.train.global_batch_size);
  config.train.steps = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::ceil(config.finetune.epochs * batches_per_epoch)));
  config.train.evaluate_every =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(batches_per_epoch)));
  config.schedule.steps = config.train.steps;
  if (!start.has_own_warmup) {
    config.schedule.warmup_steps =
        static_cast<std::int64_t>(kWarmupShare * static_cast<double>(config.train.steps));
  }
  config.schedule.warmup_steps = std::min(config.schedule.warmup_steps, config.train.steps);
  return config;
}

// Throws UsageError when the folder's run was made with other settings.
void check_same_settings(const config::Config& config) {
  config::Config before =
      config::load(fs::path(config.run.dir) / config::kResolvedConfigName, {}).config;
  before.run.dir = config.run.dir;  // the folder may have been moved
  const std::vector<config::Change> changes = config::changes(before, config);
  if (changes.empty()) return;
  throw UsageError(
      fmt::format("{}: this seed was trained with other settings: {}: {}, now {}", config.run.dir,
                  changes.front().key, changes.front().before, changes.front().after),
      "choose another --output, or give the same settings again");
}

// In a new run folder, or on from where it stopped.
void train(const Start& start, const PreparedTask& prepared, const config::Config& config,
           const train::StopSignal& stop) {
  const bool goes_on = config::holds_run(config.run.dir);
  const train::RunFolder folder =
      goes_on ? train::RunFolder::reopen(config.run.dir) : train::RunFolder::create(config.run.dir);
  std::optional<train::ResumePoint> point;
  if (goes_on) {
    check_same_settings(config);
    point = train::find_resume_point(folder, config, {}, std::nullopt);
    train::check_data(*point, prepared.data.fingerprint, config, {});
    train::tidy_and_tell(*point, config, folder);
  }
  const std::unique_ptr<model::Classifier> classifier = make_classifier(config, *prepared.task);
  if (start.checkpoint) load_trunk(*classifier, *start.checkpoint, start.same_routers);
  const auto communicator = comm::make_self_communicator();
  parallel::RankGroups groups(*communicator, config.parallel.expert);
  ClassificationTask task(config, *classifier, *prepared.task, prepared.data);
  train::RunLoop loop(config, task, groups, folder, stop);
  if (point) loop.restore(*point);
  {
    const train::ReportAtEnd report(folder.path(), loop);
    (void)loop.run();
  }
  loop.side_work().check_last();
}

// A grid of tasks and seeds would else fill the disk with what nobody reads again.
void keep_only_best(const config::Config& config) {
  const fs::path best = best_checkpoint(config.run.dir);
  checkpoint::point_at(best, checkpoint::kLatest);
  for (const fs::path& step : checkpoint::steps_in(best.parent_path())) {
    if (step != best) checkpoint::remove_step(step);
  }
}

SeedResult evaluate_best(const PreparedTask& prepared, const config::Config& config) {
  const Task& task = *prepared.task;
  const FineTuned best = load_best(config, task, config.run.dir);
  SeedResult result{.task = task.name,
                    .seed = config.run.seed,
                    .best_step = best.step,
                    .num_steps = config.train.steps,
                    .dev = {},
                    .experts_per_token = {},
                    .experts_per_token_of_layer = {}};
  for (std::size_t i = 0; i < task.dev.size(); ++i) {
    const Predictions predicted = predict(*best.classifier, task, prepared.data.dev[i],
                                          config.finetune.max_length, {.step = best.step})
                                      .value();
    const std::vector<Row>& rows = prepared.dev_rows[i].rows;
    std::vector<double> actual;
    for (const Row& row : rows) actual.push_back(row.label);
    const auto& values = predicted.value;
    result.dev.push_back(
        {.suffix = task.dev[i].suffix,
         .metrics = metrics_of(task, values, actual),
         .loss = predicted.loss,
         .num_rows = std::ssize(rows),
         .predicts_one_class = !task.is_regression() &&
                               std::all_of(values.begin(), values.end(), [&values](double value) {
                                 return value == values.front();
                               })});
    write_file_atomically(
        fs::path(config.run.dir) / fmt::format("predictions{}.tsv", task.dev[i].suffix),
        predictions_text(rows, values));
    if (i > 0) continue;
    result.experts_per_token = predicted.experts_per_token();
    result.experts_per_token_of_layer = predicted.experts_per_token_of_layer();
  }
  write_file_atomically(fs::path(config.run.dir) / kResultsName, to_json(result));
  return result;
}

SeedResult run_seed(const Start& start, const PreparedTask& prepared, const config::Config& config,
                    const train::StopSignal& stop) {
  const fs::path results = fs::path(config.run.dir) / kResultsName;
  if (fs::exists(results)) {
    check_same_settings(config);
    log::info("{}: done already", config.run.dir);
    return parse_seed_result(read_file(results), results.string(), *prepared.task);
  }
  train(start, prepared, config, stop);
  SeedResult result = evaluate_best(prepared, config);
  keep_only_best(config);
  std::string text;
  for (const FileResult& file : result.dev) {
    for (const auto& [name, value] : file.metrics) {
      text += fmt::format(" {}{} {:.4f}", name, file.suffix, value);
    }
  }
  log::info("{} seed {}: step {} is the best:{}", prepared.task->folder, result.seed,
            result.best_step, text);
  return result;
}

// The files of the GLUE site, by the model of the seed that did best on dev.
void write_submission(const PreparedTask& prepared, const config::Config& config,
                      const fs::path& output) {
  const Task& task = *prepared.task;
  const FineTuned best = load_best(config, task, config.run.dir);
  const fs::path folder = output / kSubmission;
  fs::create_directories(folder);
  for (const PreparedTask::Test& test : prepared.test) {
    const Predictions predicted = predict(*best.classifier, task, test.encoded,
                                          config.finetune.max_length, {.step = best.step})
                                      .value();
    write_file_atomically(folder / test.file->submission,
                          submission_text(task, test.rows.rows, predicted.value));
    log::info("wrote {}", (folder / test.file->submission).string());
  }
}

std::size_t best_seed(const TaskResult& result) {
  const std::string metric = metric_name(result.task->metrics.front());
  std::size_t best = 0;
  for (std::size_t i = 1; i < result.seeds.size(); ++i) {
    const auto value = [&](std::size_t seed) {
      return result.seeds[seed].dev.front().metrics.at(metric);
    };
    if (value(i) > value(best) || std::isnan(value(best))) best = i;
  }
  return best;
}

}  // namespace

std::vector<TaskResult> finetune(const FinetuneOptions& options) {
  const Start start = open_start(options);
  std::vector<PreparedTask> tasks;
  for (const Task* task : options.tasks) {
    tasks.push_back(prepare_task(*task, options.data, start, options.submission));
  }
  std::error_code error;
  fs::create_directories(options.output, error);
  if (error) {
    throw StorageError(
        fmt::format("cannot make the folder {}: {}", options.output.string(), error.message()));
  }
  claim_output(options.output, start);
  log::add_file(options.output / "log.txt");
  if (start.config.train.deterministic) ops::make_deterministic();
  const train::StopSignal stop;
  std::vector<TaskResult> results;
  for (const PreparedTask& prepared : tasks) {
    std::vector<const std::vector<Row>*> dev;
    for (const RowSet& rows : prepared.dev_rows) dev.push_back(&rows.rows);
    TaskResult result{.task = prepared.task,
                      .num_train_rows = std::ssize(prepared.data.train.rows),
                      .majority = majority_metrics(*prepared.task, dev),
                      .seeds = {}};
    std::vector<config::Config> configs;
    for (std::int64_t seed = 0; seed < options.num_seeds; ++seed) {
      configs.push_back(config_of_seed(start, prepared, options.output, seed));
      result.seeds.push_back(run_seed(start, prepared, configs.back(), stop));
    }
    if (options.submission) {
      write_submission(prepared, configs[best_seed(result)], options.output);
    }
    results.push_back(std::move(result));
    write_file_atomically(options.output / "results.md", results_markdown(results));
    write_file_atomically(options.output / "results.json", results_json(results));
  }
  return results;
}

}  // namespace switchyard::glue
