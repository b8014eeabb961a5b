#include "telemetry/report/figures.h"

#include <fmt/format.h>

#include <utility>

namespace switchyard::telemetry {

Figures::Figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps)
    : metrics_(metrics) {
  if (planned_steps.has_value()) x_to_ = static_cast<double>(*planned_steps);
  for (const StepRecord& record : metrics.steps) {
    step_.push_back(static_cast<double>(record.step));
    for (const LayerRecord& layer : record.layers) layers_.insert(layer.layer);
  }
}

Chart Figures::chart(std::string title, std::string note) const {
  Chart result;
  result.title = std::move(title);
  result.note = std::move(note);
  result.x_to = x_to_;
  for (const std::int64_t step : metrics_.resumes) {
    result.marks.push_back(static_cast<double>(step));
  }
  return result;
}

Series Figures::series(std::string name, std::string color,
                       const std::function<double(const StepRecord&)>& value) const {
  Series result{.name = std::move(name), .color = std::move(color), .x = step_};
  for (const StepRecord& record : metrics_.steps) result.y.push_back(value(record));
  return result;
}

std::vector<double> Figures::of_layer(
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

void Figures::add_layers(Chart& chart,
                         const std::function<double(const RoutingRecord&)>& value) const {
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

std::string Figures::single(Chart chart, const char* color,
                            const std::function<double(const StepRecord&)>& value,
                            bool largest) const {
  chart.series.push_back(thinned(series(chart.title, color, value), kMaxPoints, largest));
  return draw(chart);
}

}  // namespace switchyard::telemetry
