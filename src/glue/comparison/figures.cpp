#include "switchyard/glue/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/results.h"

namespace switchyard::glue {
namespace {

using format::Json;

constexpr std::string_view kPrefix = "eval_";
constexpr const char* kReadAgain = "run its `switchyard finetune` again: what is done is only read";

double value_of(const Json& entry) {
  return entry.is_null() ? std::numeric_limits<double>::quiet_NaN() : entry.get<double>();
}

Conditions parse_conditions(const Json& entry) {
  return {.dev_rows = entry.at("dev_rows_hash").get<std::string>(),
          .training_rows = entry.at("training_rows_hash").get<std::string>(),
          .num_train_rows = entry.at("training_rows").get<std::int64_t>(),
          .max_length = entry.at("max_length").get<std::int64_t>(),
          .epochs = entry.at("epochs").get<double>()};
}

std::vector<SeedFigures> parse_seeds(const Json& entry) {
  std::vector<SeedFigures> seeds;
  const Json& numbers = entry.at("seeds");
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    SeedFigures seed{.seed = numbers.at(i).get<std::uint64_t>(),
                     .diverged = entry.at("diverged").at(i).get<bool>()};
    const Json& tokens = entry.at("training_tokens").at(i);
    const Json& flops = entry.at("training_flops").at(i);
    if (!tokens.is_null() && !flops.is_null()) {
      seed.cost = TrainingCost{.tokens = tokens.get<std::int64_t>(), .flops = flops.get<double>()};
    }
    for (const auto& [name, value] : entry.items()) {
      if (seed.diverged || !name.starts_with(kPrefix)) continue;
      seed.metrics[name.substr(kPrefix.size())] = value_of(value.at("by_seed").at(i));
    }
    seeds.push_back(std::move(seed));
  }
  return seeds;
}

std::set<std::uint64_t> seeds_of(const TaskFigures& figures) {
  std::set<std::uint64_t> seeds;
  for (const SeedFigures& seed : figures.seeds) seeds.insert(seed.seed);
  return seeds;
}

// "1 to 5", "1, 3".
std::string range_text(const std::set<std::uint64_t>& seeds) {
  if (seeds.empty()) return "none";
  if (seeds.size() > 2 && *seeds.rbegin() - *seeds.begin() + 1 == seeds.size()) {
    return fmt::format("{} to {}", *seeds.begin(), *seeds.rbegin());
  }
  std::vector<std::string> numbers;
  for (const std::uint64_t seed : seeds) numbers.push_back(fmt::format("{}", seed));
  return join(numbers, ", ");
}

}  // namespace

std::int64_t TaskFigures::num_diverged() const {
  return std::count_if(seeds.begin(), seeds.end(),
                       [](const SeedFigures& seed) { return seed.diverged; });
}

double TaskFigures::median(const std::string& key) const {
  std::vector<double> values;
  for (const SeedFigures& seed : seeds) {
    const auto found = seed.metrics.find(key);
    if (found != seed.metrics.end()) values.push_back(found->second);
  }
  return spread_of(std::move(values)).median;
}

std::vector<TaskFigures> read_figures(const std::filesystem::path& output) {
  const std::filesystem::path file = output / kTableName;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    throw UsageError(fmt::format("{} has no {}", output.string(), kTableName),
                     "its `switchyard finetune` writes it when the first task is done");
  }
  const Json json = format::parse_json(read_file(file), file.string());
  std::vector<TaskFigures> tasks;
  try {
    for (const Json& entry : json) {
      if (!entry.contains("dev_rows_hash")) {
        throw DataError(fmt::format("{}: an earlier version wrote it, which did not note the rows "
                                    "that it was judged on",
                                    file.string()),
                        kReadAgain);
      }
      tasks.push_back({.task = entry.at("task").get<std::string>(),
                       .conditions = parse_conditions(entry),
                       .seeds = parse_seeds(entry)});
    }
  } catch (const Json::exception& error) {
    throw DataError(fmt::format("{}: {}", file.string(), error.what()), kReadAgain);
  }
  return tasks;
}

bool are_judged_alike(const TaskFigures& left, const TaskFigures& right) {
  return left.conditions.dev_rows == right.conditions.dev_rows;
}

std::vector<Difference> differences(const TaskFigures& left, const TaskFigures& right) {
  std::vector<Difference> found;
  const auto compare = [&found](const char* what, const auto& a, const auto& b) {
    if (a == b) return;
    found.push_back({what, fmt::format("{}", a), fmt::format("{}", b)});
  };
  const Conditions& a = left.conditions;
  const Conditions& b = right.conditions;
  compare("dev rows (hash)", a.dev_rows, b.dev_rows);
  if (a.num_train_rows == b.num_train_rows) {
    compare("as many training rows, but other ones (hash)", a.training_rows, b.training_rows);
  } else {
    compare("training rows", a.num_train_rows, b.num_train_rows);
  }
  compare("finetune.max_length", a.max_length, b.max_length);
  compare("finetune.epochs", a.epochs, b.epochs);
  if (seeds_of(left) != seeds_of(right)) {
    found.push_back({"seeds", range_text(seeds_of(left)), range_text(seeds_of(right))});
  }
  return found;
}

}  // namespace switchyard::glue
