#include "glue/seed_run.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "glue/classification_task.h"
#include "glue/fine_tuned.h"
#include "glue/said.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/text.h"
#include "switchyard/comm/watched.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/config/resume.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/glue/metrics.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/read_by_ranks.h"
#include "switchyard/train/run_folder.h"
#include "train/run/environment.h"
#include "train/run/folder_on_ranks.h"
#include "train/run/report_at_end.h"
#include "train/run/resume_point.h"
#include "train/run/run_loop.h"
#include "train/run/run_ranks.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

constexpr double kWarmupShare = 0.06;

constexpr const char* kMicroBatch = "train.micro_batch_size";

// What may differ without changing any result. Of micro-batches it is their size over all ranks
// that counts (check_same_micro_steps).
bool changes_no_result(const config::Change& change) {
  if (is_unread(change.key)) return true;
  constexpr std::array<std::string_view, 9> kKeys = {
      "train.recompute",  "train.log_every",        "train.checkpoint_every",   "train.async_save",
      "parallel.timeout", "parallel.start_timeout", "parallel.shard_optimizer", kMicroBatch,
      "schedule.steps"};  // follows from train.steps; an earlier version's last rate was 0
  return std::find(kKeys.begin(), kKeys.end(), change.key) != kKeys.end();
}

// Other ranks may go on with a grid, as long as what they compute at a time, on which the
// load-balance loss depends, is as much together.
void check_same_micro_steps(const config::Config& before, const config::Config& config,
                            std::int64_t num_ranks) {
  const std::int64_t ranks_before = train::num_ranks_of(config.run.dir).value_or(num_ranks);
  const std::int64_t size_before =
      train::micro_step_of(config.run.dir).value_or(before.train.micro_batch_size * ranks_before);
  const std::int64_t size = config.train.micro_batch_size * num_ranks;
  if (size_before == size) return;
  const std::string of_each = size_before % num_ranks == 0
                                  ? fmt::format("give {}={}", kMicroBatch, size_before / num_ranks)
                                  : fmt::format("use {} again", counted(ranks_before, "rank"));
  throw UsageError(
      fmt::format("{}: this seed was trained with micro-steps of {} sequences ({} on {}), now they "
                  "are of {} ({} on {})",
                  config.run.dir, size_before, before.train.micro_batch_size,
                  counted(ranks_before, "rank"), size, config.train.micro_batch_size,
                  counted(num_ranks, "rank")),
      of_each + ", or choose another --output");
}

void check_same_settings(const config::Config& config, std::int64_t num_ranks) {
  config::Config before =
      config::load(fs::path(config.run.dir) / config::kResolvedConfigName, {}).config;
  before.run.dir = config.run.dir;  // the folder may have been moved
  std::vector<config::Change> changes = config::changes(before, config);
  std::erase_if(changes, &changes_no_result);
  if (changes.empty()) return check_same_micro_steps(before, config, num_ranks);
  throw UsageError(
      fmt::format("{}: this seed was trained with other settings: {}: {}, now {}", config.run.dir,
                  changes.front().key, changes.front().before, changes.front().after),
      fmt::format("choose another --output, or give the same settings again: {}",
                  shell_quoted(fmt::format("{}={}", changes.front().key, changes.front().before))));
}

void check_same_rows(const train::ResumePoint& point, const ClassificationTask& task,
                     const config::Config& config) {
  if (!point.checkpoint || point.state.data_fingerprint == task.data_fingerprint()) return;
  throw DataError(
      fmt::format("{}: this seed was trained and judged with other rows", config.run.dir),
      "give --data what it was before, or choose another --output");
}

struct Trained {
  std::int64_t num_steps = 0;
  telemetry::RunTotals totals = {};
  bool diverged = false;
  bool is_written = true;  // all that it has to say
};

// None where a part of the run was made by a version that did not count rows.
std::optional<TrainingCost> cost_of(const telemetry::RunTotals& totals,
                                    const config::Config& config, const EncodedSet& rows) {
  if (!totals.expert_rows) return std::nullopt;
  const auto tokens = static_cast<double>(totals.tokens);
  const double num_pairs = tokens * static_cast<double>(config.model.moe.layers.size());
  const double k = num_pairs > 0.0 ? static_cast<double>(*totals.expert_rows) / num_pairs : 0.0;
  return TrainingCost{.tokens = totals.tokens,
                      .flops = tokens * training_flops(config, rows).per_token(k)};
}

// The leader's view of where the run goes on, on all ranks; none for a new one.
std::optional<train::ResumePoint> find_point(const train::RunFolder& folder,
                                             const config::Config& config,
                                             const ClassificationTask& task,
                                             comm::Communicator& world) {
  train::ResumePoint point;
  train::look_at_checkpoints(world, [&](const checkpoint::ReadContents& read) {
    // Settings were compared (check_same_settings), and rows are; of `data` none else is read.
    point = train::find_resume_point(folder, config, {.keys = {"data"}}, std::nullopt, read);
  });
  if (train::RunRanks(world).leads()) {
    check_same_rows(point, task, config);
    train::tidy_and_tell(point, config, folder, world.size());
  }
  return train::share_resume_point(std::move(point), world);
}

Trained train(const SeedRun& run, const config::Config& config) {
  train::RunRanks ranks(run.world);
  const bool goes_on =
      ranks.of_leader(ranks.leads() && config::holds_run(config.run.dir) ? 1 : 0, "run") != 0;
  const train::RunFolder folder = train::open_on_ranks(
      run.world, config.run.dir, goes_on ? &train::RunFolder::reopen : &train::RunFolder::create);
  if (goes_on && ranks.leads()) check_same_settings(config, run.world.size());
  const std::unique_ptr<model::Classifier> classifier = make_classifier(config, run.prepared.task);
  ClassificationTask task(config, *classifier, run.prepared.task, run.prepared.data);
  std::optional<train::ResumePoint> point;
  if (goes_on) point = find_point(folder, config, task, run.world);
  const bool has_own_weights = point && point->checkpoint;
  if (run.start.model && !has_own_weights) {
    load_trunk(*classifier, config.model, *run.start.model);
  }
  parallel::RankGroups groups(run.world, config.parallel.expert);
  comm::keep_record(groups.world(), train::records_of_ranks(folder));
  train::RunLoop loop(config, task, groups, folder, run.stop);
  if (point) loop.restore(*point);
  Trained trained;
  try {
    {
      std::optional<train::ReportAtEnd> report;
      if (ranks.leads()) report.emplace(folder, loop);
      (void)loop.run();
    }
    trained.is_written =
        run.side_work.attempt(fmt::format("what {} writes beside training", config.run.dir),
                              loop.step(), [&loop] { loop.side_work().check_last(); });
  } catch (const NonFiniteError& error) {  // all ranks meet it
    log::warning("{}: {}", config.run.dir, error.what());
    trained.diverged = true;
  }
  trained.num_steps = loop.step();
  trained.totals = loop.totals();
  // Until the next run is under way, what one rank does alone may take a while.
  run.world.set_timeout(std::chrono::seconds(config.parallel.start_timeout));
  return trained;
}

// A grid of tasks and seeds would else fill the disk with what nobody reads again.
void keep_only_best(const config::Config& config) {
  try {
    const fs::path best = best_checkpoint(config.run.dir);
    checkpoint::point_at(best, checkpoint::kLatest);
    for (const fs::path& step : checkpoint::steps_in(best.parent_path())) {
      if (step != best) checkpoint::remove_step(step);
    }
  } catch (const StorageError& error) {
    log::warning("{}; checkpoints of {} stay that nobody needs", error.what(), config.run.dir);
  }
}

FileResult judge(const Predictions& predicted, const Task& task, const File& file,
                 const std::vector<Row>& rows) {
  std::vector<double> actual;
  for (const Row& row : rows) actual.push_back(row.label);
  const std::vector<double>& values = predicted.value;
  const bool says_one_thing = std::all_of(
      values.begin(), values.end(), [&values](double value) { return value == values.front(); });
  return {.suffix = file.suffix,
          .metrics = metrics_of(task, values, actual),
          .loss = predicted.loss,
          .num_rows = std::ssize(rows),
          .predicts_one_class = !task.is_regression() && says_one_thing};
}

// By all ranks, which have all predictions in the end; the leader writes them. Could it?
bool evaluate_best(const SeedRun& run, const config::Config& config, SeedResult& result) {
  bool is_written = true;
  const PreparedTask& prepared = run.prepared;
  const Task& task = prepared.task;
  train::RunRanks ranks(run.world);
  const FineTuned best = load_best_of_leader(run, config);
  result.best_step = best.step;
  for (std::size_t i = 0; i < task.dev.size(); ++i) {
    const Predictions predicted = predict(best, config, task, prepared.data.dev[i], ranks.share());
    const std::vector<Row>& rows = prepared.dev_rows[i].rows;
    result.dev.push_back(judge(predicted, task, task.dev[i], rows));
    const fs::path file = fs::path(config.run.dir) /
                          fmt::format("{}{}.tsv", config::kPredictionsPrefix, task.dev[i].suffix);
    if (ranks.leads()) {
      is_written &= run.side_work.attempt("writing " + file.string(), best.step, [&] {
        write_file_atomically(file, predictions_text(rows, predicted.value));
      });
    }
    if (i > 0) continue;
    result.experts_per_token = predicted.experts_per_token();
    result.experts_per_token_of_layer = predicted.experts_per_token_of_layer();
  }
  return is_written;
}

void tell(const SeedResult& result, const Task& task) {
  if (result.diverged) return;
  std::string text;
  for (const FileResult& file : result.dev) {
    for (const auto& [name, value] : file.metrics) {
      text += fmt::format(" {}{} {:.4f}", name, file.suffix, value);
    }
  }
  log::info("{} seed {}: step {} is the best:{}", task.folder, result.seed, result.best_step, text);
}

// Leader only.
std::string finished(const config::Config& config, std::int64_t num_ranks) {
  const fs::path results = fs::path(config.run.dir) / config::kSeedResultsName;
  std::error_code ignored;
  if (!fs::is_regular_file(results, ignored)) return {};
  check_same_settings(config, num_ranks);
  log::info("{}: done already", config.run.dir);
  return read_file(results);
}

std::string judge_and_write(const SeedRun& run, const config::Config& config,
                            const Trained& trained) {
  SeedResult result{.task = run.prepared.task.name,
                    .seed = config.run.seed,
                    .learning_rate = config.optim.learning_rate,
                    .num_steps = trained.num_steps,
                    .cost = cost_of(trained.totals, config, run.prepared.data.train),
                    .diverged = trained.diverged,
                    .dev = {},
                    .experts_per_token = {},
                    .experts_per_token_of_layer = {}};
  const bool is_judged = trained.diverged || evaluate_best(run, config, result);
  std::string text = to_json(result);
  if (!train::RunRanks(run.world).leads()) return text;
  tell(result, run.prepared.task);
  // Without its results the same command takes the run up again, and writes what is missing.
  if (!trained.is_written || !is_judged) return text;
  const fs::path file = fs::path(config.run.dir) / config::kSeedResultsName;
  const bool is_written = run.side_work.attempt("writing " + file.string(), result.num_steps,
                                                [&] { write_file_atomically(file, text); });
  if (is_written && !trained.diverged) keep_only_best(config);
  return text;
}

}  // namespace

FineTuned load_best_of_leader(const SeedRun& run, const config::Config& config) {
  const std::string step = comm::text_of_first(
      run.world, train::RunRanks(run.world).leads() ? best_checkpoint(config.run.dir).string() : "",
      "best checkpoint");
  return load_fine_tuned(config, run.prepared.task, step);
}

config::Config config_of_seed(const Start& start, const PreparedTask& prepared,
                              const fs::path& folder, std::int64_t seed_idx, double learning_rate) {
  config::Config config = start.config;
  config.run.seed += static_cast<std::uint64_t>(seed_idx);
  config.run.dir = (folder / fmt::format("seed-{}", config.run.seed)).string();
  config.optim.learning_rate = learning_rate;
  config.finetune.learning_rates.clear();
  config.finetune.pooling = pooling_for(config, prepared.task);
  const RowOrder order = row_order(config, prepared.data.train);
  config.train.steps = order.num_steps();
  config.train.evaluate_every = order.steps_per_epoch();
  config.schedule.steps = config.train.steps + 1;  // so that the last step moves weights, too
  if (!start.has_own_warmup) {
    config.schedule.warmup_steps =
        static_cast<std::int64_t>(kWarmupShare * static_cast<double>(config.train.steps));
  }
  return config;
}

void check_seed_folder(const config::Config& config, std::int64_t num_ranks) {
  if (config::holds_run(config.run.dir)) return check_same_settings(config, num_ranks);
  if (const auto problem = config::problem_of_run_folder(config.run.dir)) {
    throw UsageError(*problem, "move it away, or choose another --output");
  }
}

SeedResult run_seed(const SeedRun& run, const config::Config& config) {
  const bool leads = train::RunRanks(run.world).leads();
  const std::string source = (fs::path(config.run.dir) / config::kSeedResultsName).string();
  std::string text = comm::text_of_first(run.world, leads ? finished(config, run.world.size()) : "",
                                         "results of a seed");
  if (text.empty()) {
    const Trained trained = train(run, config);
    text =
        comm::text_of_first(run.world, judge_and_write(run, config, trained), "results of a seed");
  }
  return parse_seed_result(text, source, run.prepared.task);
}

}  // namespace switchyard::glue
