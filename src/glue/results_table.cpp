// The table over tasks, for people and for programs.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "glue/comparison/baseline.h"
#include "glue/references.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/results.h"

namespace switchyard::glue {
namespace {

using format::Json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json number(std::optional<double> value) {
  return value ? number(*value) : Json(nullptr);
}

std::string cell(double value) {
  return std::isfinite(value) ? fmt::format("{:.3f}", value) : "-";
}

std::string cell(std::optional<double> value) {
  return value ? cell(*value) : "-";
}

std::optional<double> found_in(const std::map<std::string, double>& values,
                               const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

std::string experts_cell(const TaskResult& result) {
  std::vector<double> values;
  for (const SeedResult& seed : result.seeds) {
    if (seed.experts_per_token) values.push_back(*seed.experts_per_token);
  }
  return values.empty() ? "-" : fmt::format("{:.2f}", spread_of(values).median);
}

std::string seeds_text(std::int64_t num_seeds, std::int64_t num_diverged) {
  if (num_diverged == 0) return fmt::format("{}", num_seeds);
  return fmt::format("{} of {}", num_seeds - num_diverged, num_seeds);
}

std::string seeds_cell(const TaskResult& result) {
  return seeds_text(std::ssize(result.seeds), result.num_diverged());
}

bool has_baseline(const std::vector<TaskResult>& results) {
  return std::any_of(results.begin(), results.end(),
                     [](const TaskResult& result) { return result.baseline.has_value(); });
}

// With its seeds, where they are not those of the result beside it.
std::string baseline_cell(const TaskResult& result, const MetricRow& row) {
  if (!result.baseline) return "-";
  const std::int64_t num_seeds = std::ssize(result.baseline->seeds);
  const std::string its = seeds_text(num_seeds, result.baseline->num_diverged());
  if (its == seeds_cell(result)) return cell(row.baseline);
  return fmt::format("{} ({} {})", cell(row.baseline), its, plural(num_seeds, "seed"));
}

// Those that have a figure for one of the tasks.
std::vector<Reference> references_of(const std::vector<TaskResult>& results) {
  std::vector<Reference> used;
  for (const Reference& reference : references()) {
    const bool is_used = std::any_of(results.begin(), results.end(), [&](const auto& result) {
      const std::vector<MetricRow> rows = metric_rows(result);
      return std::any_of(rows.begin(), rows.end(), [&](const MetricRow& row) {
        return reference_figure(reference, result.task.name, row.key).has_value();
      });
    });
    if (is_used) used.push_back(reference);
  }
  return used;
}

std::string main_table(const std::vector<TaskResult>& results) {
  const bool with_baseline = has_baseline(results);
  const std::vector<Reference> others = references_of(results);
  std::vector<std::string> head = {"task", "metric", "median",  "least",
                                   "most", "seeds",  "majority"};
  if (with_baseline) head.emplace_back("baseline");
  for (const Reference& reference : others) head.push_back(reference.name);
  for (const char* name : {"training rows", "dev rows", "experts per token"}) {
    head.emplace_back(name);
  }
  std::string text = "| " + join(head, " | ") + " |\n|";
  for (std::size_t i = 0; i < head.size(); ++i) text += "---|";
  text += "\n";
  for (const TaskResult& result : results) {
    for (const MetricRow& row : metric_rows(result)) {
      std::vector<std::string> cells = {result.task.folder,      row.key,
                                        cell(row.spread.median), cell(row.spread.least),
                                        cell(row.spread.most),   seeds_cell(result),
                                        cell(row.majority)};
      if (with_baseline) cells.push_back(baseline_cell(result, row));
      for (const Reference& reference : others) {
        cells.push_back(cell(reference_figure(reference, result.task.name, row.key)));
      }
      cells.push_back(fmt::format("{}", result.conditions.num_train_rows));
      cells.push_back(row.num_rows ? fmt::format("{}", *row.num_rows) : "-");
      cells.push_back(experts_cell(result));
      text += "| " + join(cells, " | ") + " |\n";
    }
  }
  std::string notes;
  for (const Reference& reference : others) {
    notes += fmt::format("- {}: {}\n", reference.name, reference.source);
  }
  return notes.empty() ? text : text + "\nFor scale, not of this program:\n\n" + notes;
}

std::string table_of_layers(const std::vector<TaskResult>& results) {
  std::set<std::int64_t> layers;
  for (const TaskResult& result : results) {
    for (const auto& [layer, k] : experts_per_token_of_layer(result)) layers.insert(layer);
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
    const std::map<std::int64_t, double> medians = experts_per_token_of_layer(result);
    for (const std::int64_t layer : layers) {
      const auto found = medians.find(layer);
      text += found == medians.end() ? " - |" : fmt::format(" {:.2f} |", found->second);
    }
    text += "\n";
  }
  return text;
}

std::string rates_text(const TaskResult& result) {
  std::vector<std::string> rates;
  for (const auto& [rate, worth] : result.tried_rates) rates.push_back(fmt::format("{}", rate));
  return join(rates, ", ");
}

std::string table_of_rates(const std::vector<TaskResult>& results) {
  std::string text;
  for (const TaskResult& result : results) {
    if (result.tried_rates.empty()) continue;
    text += fmt::format("- {}, {} on dev by learning rate (first seed):", result.task.folder,
                        metric_name(result.task.metrics.front()));
    for (const auto& [rate, worth] : result.tried_rates) {
      const bool is_chosen = rate == result.learning_rate;
      text += fmt::format(" {}{} {}{}", is_chosen ? "**" : "", rate, cell(worth),
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

std::vector<MetricRow> metric_rows(const TaskResult& result) {
  std::vector<MetricRow> rows;
  for (std::size_t file = 0; file < result.task.dev.size(); ++file) {
    for (const std::string& name : metric_names(result.task)) {
      MetricRow row{.key = name + result.task.dev[file].suffix};
      for (const SeedResult& seed : result.seeds) {
        if (seed.diverged) continue;
        row.by_seed.push_back(seed.dev[file].metrics.at(name));
        row.num_rows = seed.dev[file].num_rows;
      }
      row.spread = spread_of(row.by_seed);
      row.majority = found_in(result.majority, row.key);
      if (result.baseline) row.baseline = result.baseline->median(row.key);
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::map<std::int64_t, double> experts_per_token_of_layer(const TaskResult& result) {
  std::map<std::int64_t, std::vector<double>> values;
  for (const SeedResult& seed : result.seeds) {
    for (const auto& [layer, k] : seed.experts_per_token_of_layer) values[layer].push_back(k);
  }
  std::map<std::int64_t, double> medians;
  for (const auto& [layer, of_seeds] : values) medians[layer] = spread_of(of_seeds).median;
  return medians;
}

std::vector<std::string> warnings_of(const TaskResult& result) {
  std::vector<std::string> lines;
  if (result.lacks_a_rate()) {
    lines.push_back(
        fmt::format("{}: every learning rate that was tried ({}) came to nothing on "
                    "dev; no seed was trained",
                    result.task.folder, rates_text(result)));
  }
  for (const SeedResult& seed : result.seeds) {
    if (seed.diverged) {
      lines.push_back(fmt::format("{}, seed {}: diverged at step {} and is in no figure",
                                  result.task.folder, seed.seed, seed.num_steps));
    }
    for (std::size_t file = 0; file < seed.dev.size(); ++file) {
      const std::string where = fmt::format("{}, seed {}{}", result.task.folder, seed.seed,
                                            file == 0 ? "" : ", " + result.task.dev[file].name);
      if (seed.dev[file].predicts_one_class) {
        lines.push_back(where + ": the model says the same class for every row");
      }
      for (const auto& [name, value] : seed.dev[file].metrics) {
        if (!std::isnan(value)) continue;
        lines.push_back(
            fmt::format("{}: {} is no number, as of one score for every row, and is "
                        "left out of the median",
                        where, name));
      }
    }
  }
  for (std::string& note : notes_on_baseline(result)) lines.push_back(std::move(note));
  return lines;
}

std::string results_markdown(const std::vector<TaskResult>& results) {
  std::string text = main_table(results) + table_of_layers(results) + table_of_rates(results);
  std::string warnings;
  for (const TaskResult& result : results) {
    for (const std::string& line : warnings_of(result)) warnings += "- " + line + "\n";
  }
  return warnings.empty() ? text : text + "\n" + warnings;
}

namespace {

void add_seeds(const TaskResult& result, Json& entry) {
  for (const char* key :
       {"seeds", "diverged", "training_tokens", "training_flops", "experts_per_token"}) {
    entry[key] = Json::array();
  }
  for (const SeedResult& seed : result.seeds) {
    entry["seeds"].push_back(seed.seed);
    entry["diverged"].push_back(seed.diverged);
    entry["training_tokens"].push_back(seed.cost ? Json(seed.cost->tokens) : Json(nullptr));
    entry["training_flops"].push_back(seed.cost ? number(seed.cost->flops) : Json(nullptr));
    entry["experts_per_token"].push_back(number(seed.experts_per_token));
  }
}

// Its medians are beside those of the result.
Json baseline_json(const TaskResult& result) {
  const TaskFigures& baseline = *result.baseline;
  Json json{{"training_rows", baseline.conditions.num_train_rows},
            {"max_length", baseline.conditions.max_length},
            {"epochs", baseline.conditions.epochs},
            {"seeds", Json::array()},
            {"diverged", Json::array()},
            {"notes", notes_on_baseline(result)}};
  for (const SeedFigures& seed : baseline.seeds) {
    json["seeds"].push_back(seed.seed);
    json["diverged"].push_back(seed.diverged);
  }
  return json;
}

}  // namespace

std::string results_json(const std::vector<TaskResult>& results) {
  Json json = Json::array();
  for (const TaskResult& result : results) {
    Json entry;
    entry["task"] = result.task.name;
    entry["dev_rows_hash"] = result.conditions.dev_rows;
    entry["training_rows_hash"] = result.conditions.training_rows;
    entry["training_rows"] = result.conditions.num_train_rows;
    entry["max_length"] = result.conditions.max_length;
    entry["epochs"] = result.conditions.epochs;
    if (!result.conditions.pooling.empty()) entry["pooling"] = result.conditions.pooling;
    entry["learning_rate"] = number(result.learning_rate);
    for (const auto& [rate, worth] : result.tried_rates) {
      entry["tried_learning_rates"].push_back({{"learning_rate", rate}, {"dev", number(worth)}});
    }
    add_seeds(result, entry);
    if (result.baseline) entry["baseline"] = baseline_json(result);
    for (const MetricRow& row : metric_rows(result)) {
      Json& part = entry["eval_" + row.key];
      part["median"] = number(row.spread.median);
      part["least"] = number(row.spread.least);
      part["most"] = number(row.spread.most);
      part["by_seed"] = Json::array();  // null where a seed diverged
      auto value = row.by_seed.begin();
      for (const SeedResult& seed : result.seeds) {
        part["by_seed"].push_back(seed.diverged ? Json(nullptr) : number(*value++));
      }
      part["majority"] = number(row.majority);
      if (result.baseline) part["baseline"] = number(row.baseline);
      for (const Reference& reference : references()) {
        if (const auto figure = reference_figure(reference, result.task.name, row.key)) {
          part["references"][reference.name] = *figure;
        }
      }
    }
    json.push_back(std::move(entry));
  }
  return format::json_text(json, 2) + "\n";
}

}  // namespace switchyard::glue
