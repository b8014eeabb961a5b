#include "telemetry/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "telemetry/report/chart.h"
#include "telemetry/report/heat_map.h"
#include "telemetry/report/html.h"

namespace switchyard::telemetry {
namespace {

constexpr std::size_t kMaxPoints = 500;        // of a line
constexpr std::size_t kMaxLayerPoints = 4000;  // of all lines of a chart by layer
constexpr std::size_t kMaxSmallPoints = 120;   // of a small chart
constexpr std::size_t kMaxSmallCharts = 48;
constexpr std::size_t kMaxPhases = 3;  // more are hard to tell apart, and near zero
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

constexpr const char* kBlue = "var(--blue)";
constexpr const char* kOrange = "var(--orange)";
constexpr const char* kGreen = "var(--green)";

// Builds charts over the steps of one run.
class Figures {
 public:
  Figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps) : metrics_(metrics) {
    if (planned_steps.has_value()) x_to_ = static_cast<double>(*planned_steps);
    for (const StepRecord& record : metrics.steps) {
      step_.push_back(static_cast<double>(record.step));
      for (const LayerRecord& layer : record.layers) layers_.insert(layer.layer);
    }
  }

  [[nodiscard]] const std::set<std::int64_t>& layers() const { return layers_; }

  // A chart with what all charts of the page share.
  [[nodiscard]] Chart chart(std::string title, std::string note = {}) const {
    Chart result;
    result.title = std::move(title);
    result.note = std::move(note);
    result.x_to = x_to_;
    for (const std::int64_t step : metrics_.resumes) {
      result.marks.push_back(static_cast<double>(step));
    }
    return result;
  }

  [[nodiscard]] Series series(std::string name, std::string color,
                              const std::function<double(const StepRecord&)>& value) const {
    Series result{.name = std::move(name), .color = std::move(color), .x = step_};
    for (const StepRecord& record : metrics_.steps) result.y.push_back(value(record));
    return result;
  }

  // One value of one layer by step; NaN where a record lacks the layer.
  [[nodiscard]] std::vector<double> of_layer(
      std::int64_t layer, const std::function<double(const RoutingRecord&)>& value) const {
    std::vector<double> result;
    for (const StepRecord& record : metrics_.steps) {
      const auto found =
          std::find_if(record.layers.begin(), record.layers.end(),
                       [layer](const LayerRecord& entry) { return entry.layer == layer; });
      result.push_back(found == record.layers.end() ? kNan : value(found->routing));
    }
    return result;
  }

  // One line per layer, coloured by depth.
  void add_layers(Chart& chart, const std::function<double(const RoutingRecord&)>& value) const {
    const std::size_t max_points =
        std::clamp<std::size_t>(kMaxLayerPoints / layers_.size(), 100, kMaxPoints);
    std::size_t idx = 0;
    for (const std::int64_t layer : layers_) {
      chart.series.push_back(thinned({.name = fmt::format("layer {}", layer),
                                      .color = ordered_color(idx, layers_.size()),
                                      .x = step_,
                                      .y = of_layer(layer, value)},
                                     max_points));
      ++idx;
    }
  }

  // A chart of one number of the step records.
  [[nodiscard]] std::string single(Chart chart, const char* color,
                                   const std::function<double(const StepRecord&)>& value,
                                   bool largest = false) const {
    chart.series.push_back(thinned(series(chart.title, color, value), kMaxPoints, largest));
    return draw(chart);
  }

  [[nodiscard]] const std::vector<double>& steps() const { return step_; }

 private:
  const Metrics& metrics_;
  std::optional<double> x_to_;
  std::vector<double> step_;
  std::set<std::int64_t> layers_;
};

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

double as_double(std::int64_t value) {
  return static_cast<double>(value);
}

std::vector<double> shares(const std::vector<std::int64_t>& counts, std::size_t size) {
  std::vector<double> result(size, 0.0);
  double sum = 0.0;
  for (const std::int64_t count : counts) sum += as_double(std::max<std::int64_t>(0, count));
  for (std::size_t i = 0; i < std::min(size, counts.size()) && sum > 0.0; ++i) {
    result[i] = as_double(std::max<std::int64_t>(0, counts[i])) / sum;
  }
  return result;
}

// The charts of experts per token: all layers together, then each with its own band.
std::string experts_per_token(const Figures& figures, const Metrics& metrics) {
  Chart all = figures.chart("Experts per token by layer",
                            "mean over the tokens of a window; shaded: 5th to 95th percentile "
                            "over all tokens and layers");
  all.wide = true;
  all.y_from = 0.0;
  figures.add_layers(all, [](const RoutingRecord& r) { return r.experts_per_token; });
  Band band{.name = "5th to 95th percentile", .color = "var(--band)", .x = figures.steps()};
  double most = 0.0;
  for (const StepRecord& record : metrics.steps) {
    const bool has = record.routing.has_value();
    band.low.push_back(has ? as_double(record.routing->experts_per_token_p5) : kNan);
    band.high.push_back(has ? as_double(record.routing->experts_per_token_p95) : kNan);
    for (const LayerRecord& layer : record.layers) {
      most = std::max(most, as_double(layer.routing.experts_per_token_p95));
    }
  }
  all.bands.push_back(thinned(std::move(band), kMaxPoints));
  std::string text = draw(all);
  if (figures.layers().size() < 2) return text;

  text += "<div class=\"wide multiples\">";
  std::size_t idx = 0;
  for (const std::int64_t layer : figures.layers()) {
    if (idx == kMaxSmallCharts) break;
    const std::string color = ordered_color(idx++, figures.layers().size());
    Chart small = figures.chart(fmt::format("Layer {}", layer));
    small.small = true;
    small.y_from = 0.0;
    small.y_to = most;
    small.series.push_back(thinned(
        {.name = "mean",
         .color = color,
         .x = figures.steps(),
         .y = figures.of_layer(layer, [](const RoutingRecord& r) { return r.experts_per_token; })},
        kMaxSmallPoints));
    small.bands.push_back(thinned(
        {.name = "",
         .color = color,
         .x = figures.steps(),
         .low = figures.of_layer(
             layer, [](const RoutingRecord& r) { return as_double(r.experts_per_token_p5); }),
         .high = figures.of_layer(
             layer, [](const RoutingRecord& r) { return as_double(r.experts_per_token_p95); })},
        kMaxSmallPoints));
    text += draw(small);
  }
  text += "</div>";
  if (figures.layers().size() > kMaxSmallCharts) {
    text += fmt::format("<p class=\"wide\">Layers after these {} are in the chart above only.</p>",
                        kMaxSmallCharts);
  }
  return text;
}

std::string k_histogram(const StepRecord& last) {
  std::vector<std::int64_t> sum;
  for (const LayerRecord& layer : last.layers) {
    sum.resize(std::max(sum.size(), layer.k_histogram.size()));
    for (std::size_t k = 0; k < layer.k_histogram.size(); ++k) {
      sum[k] += std::max<std::int64_t>(0, layer.k_histogram[k]);
    }
  }
  if (sum.empty()) {
    return "<p class=\"wide note\">This run did not record how many tokens got k experts.</p>";
  }
  // Up to the largest k that occurs, and always the first few.
  std::size_t size = std::min<std::size_t>(sum.size(), 4);
  for (std::size_t k = 0; k < sum.size(); ++k) {
    if (sum[k] > 0) size = std::max(size, k + 1);
  }
  Bars bars{.title = "How many experts a token gets",
            .note = "share of (token, layer) pairs with k experts, newest window"};
  const std::vector<double> share = shares(sum, size);
  for (std::size_t k = 0; k < size; ++k) bars.bars.push_back({std::to_string(k), share[k]});
  HeatMap map{.title = "Experts per token, layer by layer",
              .note = "% of a layer's tokens that get k experts, newest window",
              .scale = HeatMap::Scale::kShare};
  for (std::size_t k = 0; k < size; ++k) map.columns.push_back(fmt::format("k={}", k));
  for (const LayerRecord& layer : last.layers) {
    map.rows.push_back(fmt::format("layer {}", layer.layer));
    map.cells.push_back(shares(layer.k_histogram, size));
  }
  return "<div class=\"wide pair\">" + draw(bars) + draw(map) + "</div>";
}

std::string load_map(const StepRecord& last) {
  HeatMap map{.title = "Load of every expert",
              .note = fmt::format("rows of an expert relative to its layer's mean, window up to "
                                  "step {}",
                                  last.step),
              .scale = HeatMap::Scale::kRelative};
  std::size_t most = 0;
  for (const LayerRecord& layer : last.layers) {
    map.rows.push_back(fmt::format("layer {}", layer.layer));
    std::vector<double>& row = map.cells.emplace_back();
    for (const double share : layer.load) row.push_back(share * as_double(std::ssize(layer.load)));
    most = std::max(most, layer.load.size());
  }
  for (std::size_t expert = 0; expert < most; ++expert) {
    map.columns.push_back(std::to_string(expert));
  }
  return draw(map);
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
    if (std::any_of(series.y.begin(), series.y.end(), [](double y) { return y != 0.0; })) {
      router.series.push_back(std::move(series));
    }
  };
  add("load balance", kBlue, &LossTerms::load_balance);
  add("dynamic", kOrange, &LossTerms::dynamic);
  add("z", kGreen, &LossTerms::z);
  router.y_from = 0.0;
  return text + draw(router);
}

// What moves routers while they train, one chart each.
std::string gauges(const Figures& figures, const Metrics& metrics) {
  std::set<std::string> names;
  for (const StepRecord& record : metrics.steps) {
    if (!record.routing.has_value()) continue;
    for (const auto& [name, value] : record.routing->gauges) names.insert(name);
  }
  std::string text;
  for (const std::string& name : names) {
    Chart chart = figures.chart("Routers: " + name, "what they went by, by layer");
    figures.add_layers(chart, [&name](const RoutingRecord& r) {
      const auto found = r.gauges.find(name);
      return found == r.gauges.end() ? kNan : found->second;
    });
    text += draw(chart);
  }
  return text;
}

std::string expert_figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps) {
  const Figures figures(metrics, planned_steps);
  if (figures.layers().empty()) return {};
  // The newest window may hold skipped steps only.
  const auto newest = std::find_if(metrics.steps.rbegin(), metrics.steps.rend(),
                                   [](const StepRecord& r) { return !r.layers.empty(); });
  std::string text = experts_per_token(figures, metrics);
  text += k_histogram(*newest);
  text += load_map(*newest);
  text += gauges(figures, metrics);

  Chart entropy = figures.chart("Router entropy", "nats per token; low: the router is sure");
  entropy.y_from = 0.0;
  figures.add_layers(entropy, [](const RoutingRecord& r) { return r.router_entropy; });
  text += draw(entropy);

  Chart uneven = figures.chart("Fullest expert", "load of the fullest expert / mean load");
  uneven.y_from = 1.0;
  figures.add_layers(uneven, [](const RoutingRecord& r) { return r.max_violation + 1.0; });
  text += draw(uneven);

  Chart dead = figures.chart("Dead experts", "without a token in a window, all layers");
  dead.y_from = 0.0;
  dead.y_to = 1.0;
  return text + figures.single(
                    dead, kOrange,
                    [](const StepRecord& r) {
                      return r.routing.has_value() ? as_double(r.routing->dead_experts) : kNan;
                    },
                    true);
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
  return text + draw(step_time);
}

}  // namespace switchyard::telemetry
