#include "switchyard/glue/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "switchyard/core/text.h"
#include "switchyard/glue/results.h"

namespace switchyard::glue {
namespace {

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
  const bool are_noted = !a.pooling.empty() && !b.pooling.empty();
  if (are_noted || a.pooling == "pair" || b.pooling == "pair") {
    const auto name = [](const std::string& pooling) {
      return pooling.empty() ? std::string("not noted, but not pair") : pooling;
    };
    compare("finetune.pooling", name(a.pooling), name(b.pooling));
  }
  compare("learning rates that dev chose from", a.num_rates, b.num_rates);
  if (seeds_of(left) != seeds_of(right)) {
    found.push_back({"seeds", range_text(seeds_of(left)), range_text(seeds_of(right))});
  }
  return found;
}

}  // namespace switchyard::glue
