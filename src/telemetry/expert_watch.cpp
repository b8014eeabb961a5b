#include "switchyard/telemetry/expert_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "switchyard/core/text.h"

namespace switchyard::telemetry {
namespace {

// Of the way from an even load to that of a layer whose fullest m experts take everything.
constexpr double kCollapsedFrom = 0.75;
constexpr double kSpreadBelow = 0.5;
// Tokens that use more of the experts than this cannot crowd a few of them.
constexpr double kNearlyAll = 0.75;

// "expert 5", "experts 5 and 7", "experts 1, 2, 3 and 12 more".
std::string name_experts(const std::vector<std::int64_t>& experts) {
  constexpr std::size_t kMaxNamed = 8;
  if (experts.size() == 1) return fmt::format("expert {}", experts[0]);
  if (experts.size() > kMaxNamed) {
    return fmt::format("experts {} and {} more",
                       fmt::join(experts.begin(), experts.begin() + kMaxNamed, ", "),
                       experts.size() - kMaxNamed);
  }
  return fmt::format("experts {} and {}", fmt::join(experts.begin(), experts.end() - 1, ", "),
                     experts.back());
}

struct FullestExperts {
  std::vector<std::int64_t> experts;  // ascending
  double share = 0.0;
};

FullestExperts fullest_experts(const std::vector<std::int64_t>& count_E, std::size_t num,
                               std::int64_t num_rows) {
  std::vector<std::int64_t> order(count_E.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&count_E](std::int64_t a, std::int64_t b) {
    return count_E[static_cast<std::size_t>(a)] > count_E[static_cast<std::size_t>(b)];
  });
  order.resize(num);
  std::int64_t taken = 0;
  for (const std::int64_t expert : order) taken += count_E[static_cast<std::size_t>(expert)];
  std::sort(order.begin(), order.end());
  return {.experts = std::move(order),
          .share = static_cast<double>(taken) / static_cast<double>(num_rows)};
}

}  // namespace

std::string ExpertChange::message(const config::MoeLossConfig& loss) const {
  const std::string experts_named = name_experts(experts);
  const bool one = experts.size() == 1;
  const std::string advice = fmt::format(
      "; try a higher model.moe.loss.load_balance (now {}) or a lower optim.learning_rate",
      loss.load_balance);
  switch (kind) {
    case Kind::kDead:
      return fmt::format("layer {} {} {} had no tokens for {}{}", layer, experts_named,
                         one ? "has" : "have", counted(num_steps, "step"), advice);
    case Kind::kAlive:
      return fmt::format("layer {} {} {} tokens again, after {} without", layer, experts_named,
                         one ? "gets" : "get", counted(num_steps, "step"));
    case Kind::kCollapsed:
      return fmt::format("layer {}: the load has collapsed: {} took {:.0f}% of the last {} steps{}",
                         layer, experts_named, share * 100.0, num_steps, advice);
    case Kind::kSpread:
      return fmt::format(
          "layer {}: the load is spread again: the fullest, {}, took {:.0f}% of the "
          "last {} steps",
          layer, experts_named, share * 100.0, num_steps);
  }
  return {};
}

std::vector<ExpertChange> ExpertWatch::add(const StepSums& sums) {
  std::vector<ExpertChange> changes;
  if (sums.skipped) return changes;
  for (const LayerSums& layer_sums : sums.layers) {
    const auto& count_E = layer_sums.count_E;
    if (layer_sums.num_tokens == 0) continue;  // none of the experts could have one
    Layer& layer = layers_[layer_sums.layer];
    layer.num_idle_steps_E.resize(count_E.size());
    layer.window_count_E.resize(count_E.size());
    watch_tokens(layer_sums, layer, changes);
    watch_load(layer_sums, layer, changes);
  }
  return changes;
}

void ExpertWatch::watch_tokens(const LayerSums& sums, Layer& layer,
                               std::vector<ExpertChange>& changes) const {
  ExpertChange dead{
      .kind = ExpertChange::Kind::kDead, .layer = sums.layer, .num_steps = options_.dead_steps};
  for (std::size_t expert = 0; expert < sums.count_E.size(); ++expert) {
    std::int64_t& num_idle_steps = layer.num_idle_steps_E[expert];
    const auto id = static_cast<std::int64_t>(expert);
    if (sums.count_E[expert] == 0) {
      if (++num_idle_steps == options_.dead_steps) dead.experts.push_back(id);
    } else {
      const std::int64_t waited = std::exchange(num_idle_steps, 0);
      if (waited >= options_.dead_steps) {
        changes.push_back({.kind = ExpertChange::Kind::kAlive,
                           .layer = sums.layer,
                           .experts = {id},
                           .num_steps = waited});
      }
    }
  }
  if (!dead.experts.empty()) changes.push_back(std::move(dead));
}

void ExpertWatch::watch_load(const LayerSums& sums, Layer& layer,
                             std::vector<ExpertChange>& changes) const {
  for (std::size_t expert = 0; expert < sums.count_E.size(); ++expert) {
    layer.window_count_E[expert] += sums.count_E[expert];
  }
  layer.window_tokens += sums.num_tokens;
  if (++layer.window_steps < options_.collapse_window) return;

  const auto count_E = std::exchange(layer.window_count_E, {});
  const std::int64_t num_tokens = std::exchange(layer.window_tokens, 0);
  const std::int64_t num_steps = std::exchange(layer.window_steps, 0);
  const std::int64_t num_rows = std::accumulate(count_E.begin(), count_E.end(), std::int64_t{0});
  if (num_rows == 0) return;  // no load that could be uneven
  const auto num_experts = static_cast<double>(count_E.size());
  // Even less than one expert per token needs one.
  const double k = static_cast<double>(num_rows) / static_cast<double>(num_tokens);
  const auto num_fullest = static_cast<std::size_t>(std::ceil(std::min(k, num_experts)));
  const double even = static_cast<double>(num_fullest) / num_experts;
  if (even > kNearlyAll) return;
  FullestExperts fullest = fullest_experts(count_E, num_fullest, num_rows);
  const double way = (fullest.share - even) / (1.0 - even);
  const bool collapsed = layer.collapsed ? way >= kSpreadBelow : way > kCollapsedFrom;
  if (collapsed == layer.collapsed) return;
  layer.collapsed = collapsed;
  changes.push_back(
      {.kind = collapsed ? ExpertChange::Kind::kCollapsed : ExpertChange::Kind::kSpread,
       .layer = sums.layer,
       .experts = std::move(fullest.experts),
       .num_steps = num_steps,
       .share = fullest.share});
}

}  // namespace switchyard::telemetry
