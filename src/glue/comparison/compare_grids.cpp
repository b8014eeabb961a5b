#include "switchyard/glue/compare_grids.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/folder_name.h"
#include "switchyard/core/text.h"
#include "switchyard/glue/results.h"

namespace switchyard::glue {
namespace {

constexpr const char* kCombined = "combined_score";
constexpr double kSameCost = 0.01;  // shares that differ by no more are the same

using BySeed = std::map<std::uint64_t, double>;

// What a figure of a seed is; NaN where it has none.
using Read = std::function<double(const SeedFigures& seed)>;

BySeed values_of(const TaskFigures& task, const Read& read) {
  BySeed values;
  for (const SeedFigures& seed : task.seeds) {
    const double value = seed.diverged ? std::nan("") : read(seed);
    if (std::isfinite(value)) values[seed.seed] = value;
  }
  return values;
}

double of_metric(const SeedFigures& seed, const std::string& key) {
  const auto found = seed.metrics.find(key);
  return found == seed.metrics.end() ? std::nan("") : found->second;
}

// Mean over dev files: of a task's one metric, or of the combined score of its two.
double score_of(const SeedFigures& seed) {
  const bool has_two = std::any_of(seed.metrics.begin(), seed.metrics.end(), [](const auto& item) {
    return item.first.starts_with(kCombined);
  });
  double sum = 0.0;
  double count = 0.0;
  for (const auto& [key, value] : seed.metrics) {
    if (has_two && !key.starts_with(kCombined)) continue;
    sum += value;
    count += 1.0;
  }
  return sum / count;
}

PairedFigure paired(const std::string& task, const std::string& key, const BySeed& left,
                    const BySeed& right) {
  PairedFigure figure{
      .task = task, .key = key, .seeds = {}, .difference = {}, .interval = {}, .test = {}};
  std::vector<double> lefts;
  std::vector<double> rights;
  for (const auto& [seed, value] : left) {
    const auto other = right.find(seed);
    if (other == right.end()) continue;
    figure.seeds.push_back(seed);
    figure.difference.push_back(other->second - value);
    lefts.push_back(value);
    rights.push_back(other->second);
  }
  if (figure.seeds.empty()) return figure;
  figure.left = spread_of(lefts).median;
  figure.right = spread_of(rights).median;
  figure.median = spread_of(figure.difference).median;
  figure.mean = std::accumulate(figure.difference.begin(), figure.difference.end(), 0.0) /
                static_cast<double>(figure.difference.size());
  figure.interval = bootstrap_interval(figure.difference);
  figure.test = wilcoxon_signed_rank(figure.difference);
  return figure;
}

std::optional<TrainingCost> mean_cost(const TaskFigures& task,
                                      const std::vector<std::uint64_t>& seeds) {
  TrainingCost sum;
  for (const SeedFigures& seed : task.seeds) {
    if (std::find(seeds.begin(), seeds.end(), seed.seed) == seeds.end()) continue;
    if (!seed.cost) return std::nullopt;
    sum.tokens += seed.cost->tokens;
    sum.flops += seed.cost->flops;
  }
  const auto num_seeds = std::ssize(seeds);
  return TrainingCost{.tokens = sum.tokens / num_seeds,
                      .flops = sum.flops / static_cast<double>(num_seeds)};
}

PairedCost sum_of(const std::vector<PairedCost>& costs) {
  PairedCost sum{.task = {}, .left = TrainingCost{}, .right = TrainingCost{}};
  const auto add = [](std::optional<TrainingCost>& to, const std::optional<TrainingCost>& cost) {
    if (!cost) to.reset();
    if (!to) return;
    to->tokens += cost->tokens;
    to->flops += cost->flops;
  };
  for (const PairedCost& cost : costs) {
    add(sum.left, cost.left);
    add(sum.right, cost.right);
  }
  return sum;
}

bool is_other_cost(double left, double right) {
  return std::abs(right - left) > kSameCost * std::max(left, right);
}

std::string more_or_less(double left, double right) {
  const double percent = 100.0 * std::abs(right - left) / left;
  return fmt::format("{:.1f} % {}", percent, right > left ? "more" : "fewer");
}

// One pair of tasks after the other.
class Comparing {
 public:
  Comparing(const ComparedGrid& left, const ComparedGrid& right) : left_(left), right_(right) {
    result_.left = left.name;
    result_.right = right.name;
  }

  GridComparison run() {
    for (const ComparedGrid* grid : {&left_, &right_}) {
      if (grid->tasks.empty()) note("{}: it has no results of any task", grid->name);
    }
    for (const TaskFigures& task : left_.tasks) {
      const TaskFigures* other = find(right_, task.task);
      if (other == nullptr) {
        note("{}: {} has it not: not compared", task.task, right_.name);
      } else {
        compare(task, *other);
      }
    }
    for (const TaskFigures& task : right_.tasks) {
      if (find(left_, task.task) == nullptr) {
        note("{}: {} has it not: not compared", task.task, left_.name);
      }
    }
    if (result_.figures.empty()) {
      throw UsageError(fmt::format("{} and {} have nothing to compare:\n  {}", left_.name,
                                   right_.name, join(result_.notes, "\n  ")),
                       "both need a task with the same dev rows and the same seeds: fine-tune both "
                       "with the same run.seed=... and --seeds");
    }
    add_together();
    if (result_.costs.size() > 1) result_.costs.push_back(sum_of(result_.costs));
    for (const PairedCost& cost : result_.costs) note_cost(cost);
    return std::move(result_);
  }

 private:
  static const TaskFigures* find(const ComparedGrid& grid, const std::string& task) {
    const auto found = std::find_if(grid.tasks.begin(), grid.tasks.end(),
                                    [&](const TaskFigures& each) { return each.task == task; });
    return found == grid.tasks.end() ? nullptr : &*found;
  }

  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    result_.notes.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  void compare(const TaskFigures& left, const TaskFigures& right) {
    if (!are_judged_alike(left, right)) {
      note("{}: judged on other dev rows ({} and {}): not compared", left.task,
           left.conditions.dev_rows, right.conditions.dev_rows);
      return;
    }
    for (const auto& [grid, task] : {std::pair{&left_, &left}, std::pair{&right_, &right}}) {
      for (const SeedFigures& seed : task->seeds) {
        if (seed.diverged) note("{}, {}: seed {} diverged", grid->name, task->task, seed.seed);
        for (const auto& [key, value] : seed.metrics) {
          if (std::isfinite(value)) continue;
          note("{}, {}: seed {} has no {} (it is no number) and is in no difference of it",
               grid->name, task->task, seed.seed, key);
        }
      }
    }
    for (const Difference& difference : differences(left, right)) {
      note("{}: {}: {} and {}", left.task, difference.what, difference.left, difference.right);
    }
    const BySeed lefts = values_of(left, &score_of);
    const BySeed rights = values_of(right, &score_of);
    const PairedFigure score = paired(left.task, "score", lefts, rights);
    if (score.seeds.empty()) {
      note("{}: no seed has a figure on both sides: not compared", left.task);
      return;
    }
    const std::size_t num_before = result_.figures.size();
    std::set<std::string> keys;
    for (const SeedFigures& seed : left.seeds) {
      for (const auto& [key, value] : seed.metrics) keys.insert(key);
    }
    for (const std::string& key : keys) {
      const auto read = [&key](const SeedFigures& seed) { return of_metric(seed, key); };
      PairedFigure figure = paired(left.task, key, values_of(left, read), values_of(right, read));
      if (!figure.seeds.empty()) result_.figures.push_back(std::move(figure));
    }
    if (result_.figures.size() == num_before) {
      note("{}: no metric has a figure on both sides: not compared", left.task);
      return;
    }
    result_.costs.push_back({.task = left.task,
                             .left = mean_cost(left, score.seeds),
                             .right = mean_cost(right, score.seeds)});
    scores_.push_back({lefts, rights});
  }

  void add_together() {
    if (scores_.size() < 2) return;
    // Seeds that all tasks have on both sides.
    BySeed lefts = scores_.front().first;
    for (const std::pair<BySeed, BySeed>& score : scores_) {
      std::erase_if(lefts, [&score](const auto& item) {
        return !score.first.contains(item.first) || !score.second.contains(item.first);
      });
    }
    if (lefts.empty()) {
      note("no seed has all tasks on both sides: nothing is said of them together");
      return;
    }
    BySeed rights;
    const auto num_tasks = static_cast<double>(scores_.size());
    for (auto& [seed, value] : lefts) {
      value = 0.0;
      for (const auto& [left, right] : scores_) {
        value += left.at(seed) / num_tasks;
        rights[seed] += right.at(seed) / num_tasks;
      }
    }
    result_.together = paired({}, "score", lefts, rights);
  }

  void note_cost(const PairedCost& cost) {
    const std::string task = cost.task.empty() ? "all tasks" : cost.task;
    if (!cost.left || !cost.right) {
      note("{}: an earlier version did not note what training cost", task);
      return;
    }
    const auto left_tokens = static_cast<double>(cost.left->tokens);
    const auto right_tokens = static_cast<double>(cost.right->tokens);
    if (is_other_cost(left_tokens, right_tokens)) {
      note("{}: not at equal tokens: {} trained on {} than {}", task, right_.name,
           more_or_less(left_tokens, right_tokens), left_.name);
    }
    if (is_other_cost(cost.left->flops, cost.right->flops)) {
      note("{}: not at equal FLOPs: training of {} took {} than of {}", task, right_.name,
           more_or_less(cost.left->flops, cost.right->flops), left_.name);
    }
  }

  const ComparedGrid& left_;
  const ComparedGrid& right_;
  GridComparison result_;
  std::vector<std::pair<BySeed, BySeed>> scores_;  // of the tasks that are compared
};

}  // namespace

ComparedGrid read_compared_grid(const std::filesystem::path& output) {
  return {.name = name_of_folder(output), .tasks = read_figures(output)};
}

GridComparison compare_grids(const ComparedGrid& left, const ComparedGrid& right) {
  return Comparing(left, right).run();
}

}  // namespace switchyard::glue
