#include "switchyard/glue/results.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/metrics.h"

namespace switchyard::glue {
namespace {

using format::Json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

double value_of(const Json& entry) {
  return entry.is_null() ? std::numeric_limits<double>::quiet_NaN() : entry.get<double>();
}

}  // namespace

std::vector<std::string> metric_names(const Task& task) {
  std::vector<std::string> names;
  for (const Metric metric : task.metrics) names.push_back(metric_name(metric));
  if (names.size() > 1) names.emplace_back("combined_score");
  return names;
}

std::int64_t TaskResult::num_diverged() const {
  return std::count_if(seeds.begin(), seeds.end(),
                       [](const SeedResult& seed) { return seed.diverged; });
}

TaskFigures figures_of(const TaskResult& result) {
  TaskFigures figures{.task = result.task.name, .conditions = result.conditions};
  figures.conditions.num_rates = std::max<std::int64_t>(1, std::ssize(result.tried_rates));
  for (const SeedResult& seed : result.seeds) {
    SeedFigures& of_seed = figures.seeds.emplace_back(
        SeedFigures{.seed = seed.seed, .diverged = seed.diverged, .cost = seed.cost});
    for (const FileResult& file : seed.dev) {
      for (const auto& [name, value] : file.metrics) of_seed.metrics[name + file.suffix] = value;
    }
  }
  return figures;
}

std::string to_json(const SeedResult& result) {
  Json json;
  json["task"] = result.task;
  json["seed"] = result.seed;
  json["learning_rate"] = result.learning_rate;
  json["best_step"] = result.best_step;
  json["steps"] = result.num_steps;
  json["training_tokens"] = result.cost ? Json(result.cost->tokens) : Json(nullptr);
  json["training_flops"] = result.cost ? number(result.cost->flops) : Json(nullptr);
  json["diverged"] = result.diverged;
  for (const FileResult& file : result.dev) {
    for (const auto& [name, value] : file.metrics) {
      json["eval_" + name + file.suffix] = number(value);
    }
    json["eval_loss" + file.suffix] = number(file.loss);
    json["eval_samples" + file.suffix] = file.num_rows;
    json["predicts_one_class" + file.suffix] = file.predicts_one_class;
  }
  json["experts_per_token"] =
      result.experts_per_token ? number(*result.experts_per_token) : Json(nullptr);
  json["experts_per_token_of_layer"] = Json::object();
  for (const auto& [layer, k] : result.experts_per_token_of_layer) {
    json["experts_per_token_of_layer"][std::to_string(layer)] = number(k);
  }
  return format::json_text(json, 2) + "\n";
}

SeedResult parse_seed_result(const std::string& text, const std::string& source, const Task& task) {
  const Json json = format::parse_json(text, source);
  SeedResult result;
  try {
    result.task = json.at("task").get<std::string>();
    result.seed = json.at("seed").get<std::uint64_t>();
    result.best_step = json.at("best_step").get<std::int64_t>();
    result.num_steps = json.at("steps").get<std::int64_t>();
    result.learning_rate = json.at("learning_rate").get<double>();
    result.diverged = json.at("diverged").get<bool>();
    // Earlier versions did not note them.
    const Json tokens = json.value("training_tokens", Json());
    const Json flops = json.value("training_flops", Json());
    if (!tokens.is_null() && !flops.is_null()) {
      result.cost =
          TrainingCost{.tokens = tokens.get<std::int64_t>(), .flops = flops.get<double>()};
    }
    for (const File& file : task.dev) {
      if (result.diverged) break;
      FileResult part{
          .suffix = file.suffix,
          .metrics = {},
          .loss = value_of(json.at("eval_loss" + file.suffix)),
          .num_rows = json.at("eval_samples" + file.suffix).get<std::int64_t>(),
          .predicts_one_class = json.at("predicts_one_class" + file.suffix).get<bool>()};
      for (const std::string& name : metric_names(task)) {
        part.metrics[name] = value_of(json.at("eval_" + name + file.suffix));
      }
      result.dev.push_back(std::move(part));
    }
    const Json& experts = json.at("experts_per_token");
    if (!experts.is_null()) result.experts_per_token = experts.get<double>();
    for (const auto& [layer, k] : json.at("experts_per_token_of_layer").items()) {
      result.experts_per_token_of_layer[std::stoll(layer)] = value_of(k);
    }
  } catch (const std::exception& error) {
    throw DataError(fmt::format("{}: {}", source, error.what()),
                    "remove the folder of this seed to train it again");
  }
  return result;
}

Spread spread_of(std::vector<double> values) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {.median = nan, .least = nan, .most = nan};
  }
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
  return {.median = median, .least = values.front(), .most = values.back()};
}

std::map<std::string, double> majority_metrics(const Task& task,
                                               const std::vector<const std::vector<Row>*>& dev) {
  std::map<std::string, double> metrics;
  if (task.is_regression()) return metrics;
  for (std::size_t i = 0; i < dev.size(); ++i) {
    std::vector<double> actual;
    for (const Row& row : *dev[i]) actual.push_back(row.label);
    const std::vector<double> said(actual.size(),
                                   static_cast<double>(majority_of(task, *dev[i]).label));
    for (const auto& [name, value] : metrics_of(task, said, actual)) {
      metrics[name + task.dev[i].suffix] = value;
    }
  }
  return metrics;
}

namespace {

std::string score_text(const Task& task, double score) {
  if (!task.highest_score) return fmt::format("{}", score);
  return fmt::format("{:.3f}", std::clamp(score, 0.0, *task.highest_score));
}

}  // namespace

std::string submission_text(const Task& task, const std::vector<Row>& rows,
                            const std::vector<double>& predicted) {
  SWITCHYARD_CHECK(rows.size() == predicted.size(), "{} predictions of {} rows", predicted.size(),
                   rows.size());
  std::string text = "index\tprediction\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string value = task.is_regression()
                                  ? score_text(task, predicted[i])
                                  : task.labels.at(static_cast<std::size_t>(predicted[i]));
    text += fmt::format("{}\t{}\n", rows[i].index, value);
  }
  return text;
}

std::string predictions_text(const std::vector<Row>& rows, const std::vector<double>& predicted) {
  SWITCHYARD_CHECK(rows.size() == predicted.size(), "{} predictions of {} rows", predicted.size(),
                   rows.size());
  std::string text = "index\tprediction\tlabel\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += fmt::format("{}\t{}\t{}\n", i, predicted[i], rows[i].label);
  }
  return text;
}

}  // namespace switchyard::glue
