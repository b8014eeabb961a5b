// What fine-tuning came to: one JSON file per task and seed, one table over all of them, and the
// files that the GLUE site takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/glue/figures.h"
#include "switchyard/glue/rows.h"
#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

// One model on one dev file.
struct FileResult {
  std::string suffix;                     // of its keys: "" or "_mm"
  std::map<std::string, double> metrics;  // "accuracy"; may be NaN
  double loss = 0.0;                      // mean over rows
  std::int64_t num_rows = 0;
  bool predicts_one_class = false;
};

// Of a task's metrics, and of their mean where it has two.
[[nodiscard]] std::vector<std::string> metric_names(const Task& task);

struct SeedResult {
  std::string task{};  // its name
  std::uint64_t seed = 0;
  double learning_rate = 0.0;
  std::int64_t best_step = 0;
  std::int64_t num_steps = 0;             // made: an early stop leaves some out
  std::optional<TrainingCost> cost = {};  // of them
  // Its loss or weights were no longer finite: there is nothing to judge, and `dev` is empty.
  bool diverged = false;
  std::vector<FileResult> dev;
  std::optional<double> experts_per_token;  // of the first dev file; none in a dense model
  std::map<std::int64_t, double> experts_per_token_of_layer;
};

// eval_results.json: eval_accuracy, eval_loss, eval_samples and so on, those of a second dev file
// with _mm behind them; NaN is null.
[[nodiscard]] std::string to_json(const SeedResult& result);
// The opposite. Throws DataError naming `source`.
[[nodiscard]] SeedResult parse_seed_result(const std::string& json, const std::string& source,
                                           const Task& task);

struct TaskResult {
  Task task;
  Conditions conditions = {};
  double learning_rate = 0.0;  // NaN when all that were tried came to nothing
  // Where dev chose one: each with what the first seed came to by the task's first metric, minus
  // infinity if to nothing.
  std::vector<std::pair<double, double>> tried_rates = {};
  // Of always saying the most frequent class, by key ("accuracy_mm"); nothing for scores.
  std::map<std::string, double> majority;
  std::optional<TaskFigures> baseline = {};  // the model that this one is compared with
  std::vector<SeedResult> seeds;             // none where no learning rate came to anything

  [[nodiscard]] std::int64_t num_diverged() const;
  // Learning rates were tried, and with all of them the first seed diverged or its metric was no
  // number.
  [[nodiscard]] bool lacks_a_rate() const { return seeds.empty() && !tried_rates.empty(); }
};

// What results.json says of it.
[[nodiscard]] TaskFigures figures_of(const TaskResult& result);

// Of the values that are numbers; NaN of none.
struct Spread {
  double median = 0.0;
  double least = 0.0;
  double most = 0.0;
};
[[nodiscard]] Spread spread_of(std::vector<double> values);

// The metrics of saying the most frequent class of each file, as TaskResult has them.
[[nodiscard]] std::map<std::string, double> majority_metrics(
    const Task& task, const std::vector<const std::vector<Row>*>& dev);

// One line of the table.
struct MetricRow {
  std::string key;                            // "accuracy_mm"
  std::vector<double> by_seed = {};           // of those that did not diverge
  Spread spread = {};                         // of them
  std::optional<std::int64_t> num_rows = {};  // of the dev file
  std::optional<double> majority = {};
  std::optional<double> baseline = {};
};
[[nodiscard]] std::vector<MetricRow> metric_rows(const TaskResult& result);
// Medians over seeds.
[[nodiscard]] std::map<std::int64_t, double> experts_per_token_of_layer(const TaskResult& result);
// Seeds that diverged, also of the baseline, models that say one class only, metrics that are no
// number, conditions that are not the baseline's, and learning rates that all came to nothing, a
// sentence each.
[[nodiscard]] std::vector<std::string> warnings_of(const TaskResult& result);

// One line per task and metric: median, least and most over the seeds that did not diverge, the
// majority's, the baseline's and others' figures (glue/references.h), rows, experts per token; then
// experts per token by layer, and warnings_of() each.
[[nodiscard]] std::string results_markdown(const std::vector<TaskResult>& results);
[[nodiscard]] std::string results_json(const std::vector<TaskResult>& results);

// index, prediction: classes by name; scores that have a greatest value with three decimals and no
// further than that, others with all digits. The text of a file
// that the GLUE site takes.
[[nodiscard]] std::string submission_text(const Task& task, const std::vector<Row>& rows,
                                          const std::vector<double>& predicted);
// index, prediction, label: what the metrics were computed from, with all digits.
[[nodiscard]] std::string predictions_text(const std::vector<Row>& rows,
                                           const std::vector<double>& predicted);

}  // namespace switchyard::glue
