// What became of the experts and the routers: the figures of a model with MoE layers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "telemetry/report/chart.h"
#include "telemetry/report/figures.h"
#include "telemetry/report/heat_map.h"
#include "telemetry/report/sections.h"

namespace switchyard::telemetry {
namespace {

constexpr std::size_t kMaxSmallPoints = 120;  // of a small chart
constexpr std::size_t kMaxSmallCharts = 48;

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

}  // namespace

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

  Chart single = figures.chart("Tokens with one expert", "share of a layer's tokens");
  single.y_from = 0.0;
  single.y_to = 1.0;
  single.percent = true;
  figures.add_layers(single, [](const RoutingRecord& r) { return r.single_expert_share; });
  text += draw(single);

  Chart gradient = figures.chart("Gradient of the routers", "norm, before clipping, by layer");
  gradient.y_from = 0.0;
  figures.add_layers(gradient, [](const RoutingRecord& r) { return r.router_grad_norm; });
  text += draw(gradient);

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

}  // namespace switchyard::telemetry
