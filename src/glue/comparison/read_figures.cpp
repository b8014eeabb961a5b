// results.json, which may come from anyone: what later code relies on is checked here.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "glue/comparison/parse_figures.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"

namespace switchyard::glue {
namespace {

using format::Json;

constexpr std::string_view kPrefix = "eval_";
constexpr const char* kReadAgain = "run its `switchyard finetune` again: what is done is only read";

// So that sums over seeds fit, and tests of them take no time or memory worth a word.
constexpr std::size_t kMostSeeds = 1000;
constexpr std::uint64_t kMostTokens = 1'000'000'000'000'000;  // of one seed's training
constexpr double kMostFlops = 1e30;
constexpr double kMostOfAMetric = 1.0 + 1e-9;  // a correlation of 1 may be rounded up

[[noreturn]] void refuse(const std::string& where, const std::string& problem) {
  throw DataError(fmt::format("{}: {}", where, problem), kReadAgain);
}

std::string shown(const Json& value) {
  return printable(format::json_text(value), 40);
}

// Goes into tables and messages as it is.
void check_name(const std::string& name, const char* what, const std::string& where) {
  if (!name.empty() && printable(name) == name) return;
  refuse(where, fmt::format("{} '{}': expected a short printable name", what, printable(name)));
}

// One value of each seed.
const Json& list_of(const Json& object, const char* key, std::size_t num_seeds,
                    const std::string& where) {
  const Json& list = format::json_array(object, key, where);
  if (list.size() == num_seeds) return list;
  refuse(where, fmt::format("'{}' has {} of {}", key, counted(std::ssize(list), "value"),
                            counted(static_cast<std::int64_t>(num_seeds), "seed")));
}

std::string hash_of(const Json& entry, const char* key, const std::string& where) {
  std::string hash = format::json_string(entry, key, where);
  constexpr std::string_view kDigits = "0123456789abcdef";
  if (hash.size() == 16 && hash.find_first_not_of(kDigits) == std::string::npos) return hash;
  refuse(where, fmt::format("'{}' is '{}', expected 16 hexadecimal digits", key, printable(hash)));
}

// 1 where none were tried.
std::int64_t num_rates_of(const Json& entry, const std::string& where) {
  constexpr const char* kTried = "tried_learning_rates";
  if (!entry.contains(kTried)) return 1;
  return std::max<std::int64_t>(1, std::ssize(format::json_array(entry, kTried, where)));
}

std::string pooling_of(const Json& entry, const std::string& where) {
  if (!entry.contains("pooling")) return {};
  std::string pooling = format::json_string(entry, "pooling", where);
  check_name(pooling, "'pooling' is", where);
  return pooling;
}

Conditions parse_conditions(const Json& entry, const std::string& where) {
  return {.dev_rows = hash_of(entry, "dev_rows_hash", where),
          .training_rows = hash_of(entry, "training_rows_hash", where),
          .num_train_rows = format::json_integer(entry, "training_rows", where),
          .max_length = format::json_integer(entry, "max_length", where),
          .epochs = format::json_number(entry, "epochs", where),
          .pooling = pooling_of(entry, where),
          .num_rates = num_rates_of(entry, where)};
}

std::optional<TrainingCost> parse_cost(const Json& tokens, const Json& flops,
                                       const std::string& where) {
  if (tokens.is_null() || flops.is_null()) return std::nullopt;
  if (!tokens.is_number_unsigned() || tokens.get<std::uint64_t>() > kMostTokens) {
    refuse(where, fmt::format("training_tokens: {}, expected a whole number from 0 to {}",
                              shown(tokens), kMostTokens));
  }
  if (!flops.is_number() || flops.get<double>() < 0.0 || flops.get<double>() > kMostFlops) {
    refuse(where, fmt::format("training_flops: {}, expected a number from 0 to {}", shown(flops),
                              kMostFlops));
  }
  return TrainingCost{.tokens = tokens.get<std::int64_t>(), .flops = flops.get<double>()};
}

double parse_metric(const Json& value, const std::string& where) {
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (value.is_number() && std::abs(value.get<double>()) <= kMostOfAMetric) {
    return value.get<double>();
  }
  refuse(where, fmt::format("{} of a seed, expected null or a number from -1 to 1", shown(value)));
}

std::vector<SeedFigures> parse_seeds(const Json& entry, const std::string& where) {
  const Json& numbers = format::json_array(entry, "seeds", where);
  const std::size_t num_seeds = numbers.size();
  if (num_seeds > kMostSeeds) {
    refuse(where, fmt::format("{} seeds, expected {} at most", num_seeds, kMostSeeds));
  }
  const Json& diverged = list_of(entry, "diverged", num_seeds, where);
  const Json& tokens = list_of(entry, "training_tokens", num_seeds, where);
  const Json& flops = list_of(entry, "training_flops", num_seeds, where);
  std::set<std::uint64_t> known;
  std::vector<SeedFigures> seeds;
  for (std::size_t i = 0; i < num_seeds; ++i) {
    if (!numbers[i].is_number_unsigned()) {
      refuse(where, fmt::format("seeds: {}, expected a whole number from 0 on", shown(numbers[i])));
    }
    const auto number = numbers[i].get<std::uint64_t>();
    if (!known.insert(number).second) refuse(where, fmt::format("seed {} is there twice", number));
    if (!diverged[i].is_boolean()) {
      refuse(where, fmt::format("diverged: {}, expected true or false", shown(diverged[i])));
    }
    seeds.push_back({.seed = number,
                     .diverged = diverged[i].get<bool>(),
                     .cost = parse_cost(tokens[i], flops[i], where)});
  }
  for (const auto& [name, value] : entry.items()) {
    if (!name.starts_with(kPrefix)) continue;
    check_name(name, "metric", where);
    const std::string of_metric = fmt::format("{}: {}", where, name);
    const Json& by_seed = list_of(value, "by_seed", num_seeds, of_metric);
    for (std::size_t i = 0; i < num_seeds; ++i) {
      if (seeds[i].diverged) continue;
      seeds[i].metrics[name.substr(kPrefix.size())] = parse_metric(by_seed[i], of_metric);
    }
  }
  return seeds;
}

TaskFigures parse_task(const Json& entry, const std::string& file) {
  if (!entry.is_object())
    refuse(file, fmt::format("{}, expected the object of a task", shown(entry)));
  if (!entry.contains("dev_rows_hash")) {
    refuse(file, "an earlier version wrote it, which did not note the rows that it was judged on");
  }
  std::string task = format::json_string(entry, "task", file);
  check_name(task, "task", file);
  const std::string where = fmt::format("{}: {}", file, task);
  return {.task = std::move(task),
          .conditions = parse_conditions(entry, where),
          .seeds = parse_seeds(entry, where)};
}

}  // namespace

std::vector<TaskFigures> parse_figures(std::string_view text, const std::string& file) {
  const Json json = format::parse_json(text, file);
  if (!json.is_array()) refuse(file, "expected a list of tasks");
  std::set<std::string> known;
  std::vector<TaskFigures> tasks;
  for (const Json& entry : json) {
    tasks.push_back(parse_task(entry, file));
    const std::string& name = tasks.back().task;
    if (!known.insert(name).second) refuse(file, fmt::format("task {} is there twice", name));
  }
  return tasks;
}

std::vector<TaskFigures> read_figures(const std::filesystem::path& output) {
  const std::filesystem::path file = output / kTableName;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    throw UsageError(fmt::format("{} has no {}", output.string(), kTableName),
                     "its `switchyard finetune` writes it when the first task is done");
  }
  return parse_figures(read_file(file), file.string());
}

}  // namespace switchyard::glue
