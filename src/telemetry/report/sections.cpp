#include "telemetry/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "telemetry/report/chart.h"
#include "telemetry/report/figures.h"

namespace switchyard::telemetry {
namespace {

constexpr std::size_t kMaxPhases = 3;  // more are hard to tell apart, and near zero

// One line with dots per split, of what the evaluations say.
void add_evaluations(Chart& chart, const Metrics& metrics,
                     const std::function<double(const EvaluationRecord&)>& value) {
  std::map<std::string, Series> by_split;
  for (const EvaluationRecord& record : metrics.evaluations) {
    Series& series = by_split[record.split];
    series.x.push_back(static_cast<double>(record.step));
    series.y.push_back(value(record));
  }
  constexpr std::size_t kMaxDots = 60;
  std::size_t idx = 0;
  for (auto& [split, series] : by_split) {
    series.name = split;
    series.color = idx == 0 ? kOrange : ordered_color(idx, by_split.size());
    series.dots = series.x.size() <= kMaxDots;
    chart.series.push_back(thinned(std::move(series), kMaxPoints));
    ++idx;
  }
}

// Of a step, those with the largest sums over the run, the largest first.
std::vector<std::string> longest_phases(const Metrics& metrics) {
  std::map<std::string, double> sums;
  for (const StepRecord& record : metrics.steps) {
    for (const auto& [phase, milliseconds] : record.phase_ms) {
      sums[phase] += std::isfinite(milliseconds) ? milliseconds : 0.0;
    }
  }
  std::vector<std::string> phases;
  for (const auto& [phase, sum] : sums) phases.push_back(phase);
  std::stable_sort(phases.begin(), phases.end(),
                   [&sums](const auto& a, const auto& b) { return sums.at(a) > sums.at(b); });
  phases.resize(std::min(phases.size(), kMaxPhases));
  return phases;
}

// What each rank waited: the one that others wait for is the line at the bottom. Of many ranks the
// least, the middle and the most.
std::string rank_figures(const Metrics& metrics, const Figures& figures) {
  constexpr std::size_t kMostLines = 8;
  std::set<std::int64_t> ranks;
  for (const StepRecord& record : metrics.steps) {
    for (const RankRecord& rank : record.ranks) ranks.insert(rank.rank);
  }
  if (ranks.size() < 2) return {};
  Chart waits = figures.chart("Waiting for other ranks",
                              "milliseconds a step in collectives; the slowest rank waits least");
  waits.y_from = 0.0;
  const auto add = [&](const std::string& name, std::size_t idx, std::size_t count,
                       const std::function<double(const StepRecord&)>& value) {
    waits.series.push_back(
        thinned(figures.series(name, ordered_color(idx, count), value), kMaxPoints));
  };
  if (ranks.size() <= kMostLines) {
    std::size_t idx = 0;
    for (const std::int64_t rank : ranks) {
      add(fmt::format("rank {}", rank), idx++, ranks.size(), [rank](const StepRecord& record) {
        for (const RankRecord& each : record.ranks) {
          if (each.rank == rank) return each.wait_ms;
        }
        return kNan;
      });
    }
    return draw(waits);
  }
  const auto quantile = [](double share) {
    return [share](const StepRecord& record) {
      std::vector<double> sorted;
      for (const RankRecord& each : record.ranks) sorted.push_back(each.wait_ms);
      if (sorted.empty()) return kNan;
      std::sort(sorted.begin(), sorted.end());
      return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
    };
  };
  add("least", 0, 3, quantile(0.0));
  add("median", 1, 3, quantile(0.5));
  add("most", 2, 3, quantile(1.0));
  return draw(waits);
}

}  // namespace

std::string learning_figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps) {
  const Figures figures(metrics, planned_steps);
  Chart loss = figures.chart("Loss", "language-model loss, nats per token");
  loss.wide = true;
  for (Series& series : with_trend(
           thinned(figures.series("training", kBlue, [](const StepRecord& r) { return r.lm_loss; }),
                   kMaxPoints))) {
    loss.series.push_back(std::move(series));
  }
  add_evaluations(loss, metrics, [](const EvaluationRecord& r) { return r.loss; });
  std::string text = draw(loss);

  const bool lossy = std::any_of(metrics.evaluations.begin(), metrics.evaluations.end(), &is_lossy);
  Chart bits =
      figures.chart("Bits per byte", lossy ? "none where the tokenizer loses parts of the text"
                                           : "of the evaluated text");
  add_evaluations(bits, metrics,
                  [](const EvaluationRecord& r) { return r.bits_per_byte.value_or(kNan); });
  text += draw(bits);

  Chart rate = figures.chart("Learning rate");
  rate.y_from = 0.0;
  text += figures.single(rate, kGreen, [](const StepRecord& r) { return r.learning_rate; });
  Chart norm = figures.chart("Gradient norm", "before clipping");
  norm.y_from = 0.0;
  for (Series& series : with_trend(thinned(
           figures.series("gradient norm", kBlue, [](const StepRecord& r) { return r.grad_norm; }),
           kMaxPoints))) {
    norm.series.push_back(std::move(series));
  }
  text += draw(norm);

  if (figures.layers().empty()) return text;
  Chart router = figures.chart("Router losses", "as added to the loss, all layers");
  const auto add = [&](const char* name, const char* color, double LossTerms::*term) {
    Series series = thinned(
        figures.series(name, color, [term](const StepRecord& r) { return r.weighted.*term; }),
        kMaxPoints);
    if (std::any_of(series.y.begin(), series.y.end(),
                    [](double y) { return std::isfinite(y) && y != 0.0; })) {
      router.series.push_back(std::move(series));
    }
  };
  add("load balance", kBlue, &LossTerms::load_balance);
  add("dynamic", kOrange, &LossTerms::dynamic);
  add("z", kGreen, &LossTerms::z);
  add("L1 of routing weights", "var(--band)", &LossTerms::l1);
  router.y_from = 0.0;
  return text + draw(router);
}

std::string speed_figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps) {
  const Figures figures(metrics, planned_steps);
  Chart tokens = figures.chart("Tokens per second");
  tokens.y_from = 0.0;
  std::string text =
      figures.single(tokens, kBlue, [](const StepRecord& r) { return r.tokens_per_second; });
  Chart mfu = figures.chart("Model FLOP utilisation", "share of the peak");
  mfu.y_from = 0.0;
  mfu.percent = true;
  text += figures.single(mfu, kGreen, [](const StepRecord& r) { return r.mfu.value_or(kNan); });
  const std::vector<std::string> phases = longest_phases(metrics);
  Chart step_time =
      figures.chart("Time per step", "milliseconds; of its phases those that take most");
  step_time.y_from = 0.0;
  step_time.series.push_back(
      thinned(figures.series("whole step", kBlue, [](const StepRecord& r) { return r.step_ms; }),
              kMaxPoints));
  for (std::size_t i = 0; i < phases.size(); ++i) {
    step_time.series.push_back(
        thinned(figures.series(phases[i], ordered_color(i + 1, kMaxPhases + 1),
                               [&phase = phases[i]](const StepRecord& r) {
                                 const auto found = r.phase_ms.find(phase);
                                 return found == r.phase_ms.end() ? kNan : found->second;
                               }),
                kMaxPoints));
  }
  return text + draw(step_time) + rank_figures(metrics, figures);
}

}  // namespace switchyard::telemetry
