#include "switchyard/glue/results.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

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

std::vector<std::string> metric_names(const Task& task) {
  std::vector<std::string> names;
  for (const Metric metric : task.metrics) names.push_back(metric_name(metric));
  if (names.size() > 1) names.emplace_back("combined_score");
  return names;
}

std::string cell(double value) {
  return std::isfinite(value) ? fmt::format("{:.3f}", value) : "-";
}

// The values of one metric of one dev file, of the seeds that did not diverge.
std::vector<double> values_of(const TaskResult& result, std::size_t file, const std::string& name) {
  std::vector<double> values;
  for (const SeedResult& seed : result.seeds) {
    if (!seed.diverged) values.push_back(seed.dev[file].metrics.at(name));
  }
  return values;
}

std::string experts_cell(const TaskResult& result) {
  std::vector<double> values;
  for (const SeedResult& seed : result.seeds) {
    if (seed.experts_per_token) values.push_back(*seed.experts_per_token);
  }
  return values.empty() ? "-" : fmt::format("{:.2f}", spread_of(values).median);
}

std::string seeds_cell(const TaskResult& result) {
  const std::int64_t diverged = result.num_diverged();
  const std::string all = fmt::format("{}", result.seeds.size());
  return diverged == 0 ? all : fmt::format("{} of {}", std::ssize(result.seeds) - diverged, all);
}

std::string rows_cell(const TaskResult& result, std::size_t file) {
  for (const SeedResult& seed : result.seeds) {
    if (!seed.diverged) return fmt::format("{}", seed.dev[file].num_rows);
  }
  return "-";
}

std::string warnings_of(const TaskResult& result) {
  std::string text;
  for (const SeedResult& seed : result.seeds) {
    if (seed.diverged) {
      text += fmt::format("- {}, seed {}: diverged at step {} and is in no figure\n",
                          result.task.folder, seed.seed, seed.num_steps);
    }
    for (std::size_t file = 0; file < seed.dev.size(); ++file) {
      if (!seed.dev[file].predicts_one_class) continue;
      text += fmt::format("- {}, seed {}{}: the model says the same class for every row\n",
                          result.task.folder, seed.seed,
                          file == 0 ? "" : ", " + result.task.dev[file].name);
    }
  }
  return text;
}

std::string table_of_layers(const std::vector<TaskResult>& results) {
  std::set<std::int64_t> layers;
  for (const TaskResult& result : results) {
    for (const SeedResult& seed : result.seeds) {
      for (const auto& [layer, k] : seed.experts_per_token_of_layer) layers.insert(layer);
    }
  }
  if (layers.empty()) return {};
  std::string head = "\nExperts per token by layer (median over seeds):\n\n| task |";
  std::string rule = "\n|---|";
  for (const std::int64_t layer : layers) {
    head += fmt::format(" {} |", layer);
    rule += "---|";
  }
  std::string text = head + rule + "\n";
  for (const TaskResult& result : results) {
    text += fmt::format("| {} |", result.task.folder);
    for (const std::int64_t layer : layers) {
      std::vector<double> values;
      for (const SeedResult& seed : result.seeds) {
        const auto found = seed.experts_per_token_of_layer.find(layer);
        if (found != seed.experts_per_token_of_layer.end()) values.push_back(found->second);
      }
      text += values.empty() ? " - |" : fmt::format(" {:.2f} |", spread_of(values).median);
    }
    text += "\n";
  }
  return text;
}

std::string table_of_rates(const std::vector<TaskResult>& results) {
  std::string text;
  for (const TaskResult& result : results) {
    if (result.tried_rates.empty()) continue;
    text += fmt::format("- {}, {} on dev by learning rate (first seed):", result.task.folder,
                        metric_name(result.task.metrics.front()));
    for (const auto& [rate, worth] : result.tried_rates) {
      const bool is_chosen = rate == result.learning_rate;
      text += fmt::format(" {}{:g} {}{}", is_chosen ? "**" : "", rate, cell(worth),
                          is_chosen ? "**" : "");
    }
    text += "\n";
  }
  if (text.empty()) return text;
  return "\nThe rate in bold was taken for all seeds; that it was chosen on the same rows favours "
         "it:\n\n" +
         text;
}

}  // namespace

std::int64_t TaskResult::num_diverged() const {
  return std::count_if(seeds.begin(), seeds.end(),
                       [](const SeedResult& seed) { return seed.diverged; });
}

std::string to_json(const SeedResult& result) {
  Json json;
  json["task"] = result.task;
  json["seed"] = result.seed;
  json["learning_rate"] = result.learning_rate;
  json["best_step"] = result.best_step;
  json["steps"] = result.num_steps;
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
  if (values.empty() ||
      std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) {
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

std::string results_markdown(const std::vector<TaskResult>& results) {
  std::string text =
      "| task | metric | median | least | most | seeds | majority | training rows | dev rows | "
      "experts per token |\n|---|---|---|---|---|---|---|---|---|---|\n";
  std::string warnings;
  for (const TaskResult& result : results) {
    const Task& task = result.task;
    for (std::size_t file = 0; file < task.dev.size(); ++file) {
      for (const std::string& name : metric_names(task)) {
        const std::string key = name + task.dev[file].suffix;
        const Spread spread = spread_of(values_of(result, file, name));
        const auto majority = result.majority.find(key);
        text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", task.folder,
                            key, cell(spread.median), cell(spread.least), cell(spread.most),
                            seeds_cell(result),
                            majority == result.majority.end() ? "-" : cell(majority->second),
                            result.num_train_rows, rows_cell(result, file), experts_cell(result));
      }
    }
    warnings += warnings_of(result);
  }
  text += table_of_layers(results);
  text += table_of_rates(results);
  if (!warnings.empty()) text += "\n" + warnings;
  return text;
}

std::string results_json(const std::vector<TaskResult>& results) {
  Json json = Json::array();
  for (const TaskResult& result : results) {
    Json entry;
    entry["task"] = result.task.name;
    for (const SeedResult& seed : result.seeds) {
      entry["seeds"].push_back(seed.seed);
      entry["diverged"].push_back(seed.diverged);
    }
    entry["training_rows"] = result.num_train_rows;
    entry["learning_rate"] = result.learning_rate;
    for (const auto& [rate, worth] : result.tried_rates) {
      entry["tried_learning_rates"].push_back({{"learning_rate", rate}, {"dev", number(worth)}});
    }
    for (std::size_t file = 0; file < result.task.dev.size(); ++file) {
      for (const std::string& name : metric_names(result.task)) {
        const std::string key = name + result.task.dev[file].suffix;
        const std::vector<double> values = values_of(result, file, name);
        const Spread spread = spread_of(values);
        Json& part = entry["eval_" + key];
        part["median"] = number(spread.median);
        part["least"] = number(spread.least);
        part["most"] = number(spread.most);
        for (const SeedResult& seed : result.seeds) {
          part["by_seed"].push_back(seed.diverged ? Json(nullptr)
                                                  : number(seed.dev[file].metrics.at(name)));
        }
        const auto majority = result.majority.find(key);
        part["majority"] =
            majority == result.majority.end() ? Json(nullptr) : number(majority->second);
      }
    }
    entry["experts_per_token"] = Json::array();
    for (const SeedResult& seed : result.seeds) {
      entry["experts_per_token"].push_back(seed.experts_per_token ? number(*seed.experts_per_token)
                                                                  : Json(nullptr));
    }
    json.push_back(std::move(entry));
  }
  return format::json_text(json, 2) + "\n";
}

std::string submission_text(const Task& task, const std::vector<Row>& rows,
                            const std::vector<double>& predicted) {
  SWITCHYARD_CHECK(rows.size() == predicted.size(), "{} predictions of {} rows", predicted.size(),
                   rows.size());
  constexpr double kHighestScore = 5.0;
  std::string text = "index\tprediction\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string value =
        task.is_regression() ? fmt::format("{:.3f}", std::clamp(predicted[i], 0.0, kHighestScore))
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
