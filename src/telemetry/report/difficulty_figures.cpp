// Do harder tokens get more experts? What the evaluations of a run counted of it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/core/terminal.h"
#include "telemetry/report/chart.h"
#include "telemetry/report/figures.h"
#include "telemetry/report/sections.h"

namespace switchyard::telemetry {
namespace {

double or_nan(const std::optional<double>& value) {
  return value.value_or(kNan);
}

// One line by layer over groups of tokens.
void add_groups(Chart& chart, const DifficultyRecord& record,
                const std::vector<TokenGroup>& groups) {
  for (std::size_t layer = 0; layer < record.layers.size(); ++layer) {
    Series series{.name = fmt::format("layer {}", record.layers[layer]),
                  .color = ordered_color(layer, record.layers.size()),
                  .dots = true};
    for (const TokenGroup& group : groups) {
      const auto& k = group.experts_per_token;
      series.x.push_back(static_cast<double>(series.x.size()));
      series.y.push_back(layer < k.size() ? k[layer] : kNan);
    }
    chart.series.push_back(std::move(series));
  }
}

Chart chart_of(const DifficultyRecord& record, const std::vector<TokenGroup>& groups,
               std::string title, std::string note) {
  Chart chart;
  chart.title = std::move(title);
  chart.note = std::move(note);
  chart.y_from = 0.0;
  add_groups(chart, record, groups);
  return chart;
}

std::string tenths(const EvaluationRecord& evaluation, const DifficultyRecord& record) {
  Chart chart = chart_of(
      record, record.by_loss, "Do harder tokens get more experts?",
      fmt::format("experts per token over tenths of the evaluated tokens, by the loss of what they "
                  "predict (mean, nats); step {}",
                  evaluation.step));
  chart.wide = true;
  for (const TokenGroup& group : record.by_loss) {
    chart.categories.push_back(format_fixed(group.loss, 2));
  }
  return draw(chart);
}

std::string by_word_position(const DifficultyRecord& record) {
  Chart chart = chart_of(record, record.by_word_position, "Experts by position in the word",
                         "per token: the word's first piece, its second, ...");
  for (const TokenGroup& group : record.by_word_position) {
    const bool is_open = !std::isfinite(group.to);
    chart.categories.push_back(format_count(group.from) + (is_open ? " and later" : ""));
  }
  return draw(chart);
}

std::string by_frequency(const DifficultyRecord& record) {
  Chart chart = chart_of(record, record.by_frequency, "Experts by frequency",
                         "per token: how often its piece occurs among the evaluated tokens");
  for (const TokenGroup& group : record.by_frequency) {
    chart.categories.push_back(format_count(group.from) + "+");
  }
  return draw(chart);
}

std::string correlations(const Metrics& metrics, const Figures& figures,
                         const DifficultyRecord& newest) {
  Chart chart = figures.chart("Experts and loss",
                              "rank correlation over the evaluated tokens, by layer; above 0: "
                              "harder tokens get more");
  chart.y_from = 0.0;
  for (std::size_t i = 0; i < newest.layers.size(); ++i) {
    Series series{.name = fmt::format("layer {}", newest.layers[i]),
                  .color = ordered_color(i, newest.layers.size()),
                  .dots = true};
    for (const EvaluationRecord& evaluation : metrics.evaluations) {
      if (!evaluation.difficulty.has_value()) continue;
      const auto& by_layer = evaluation.difficulty->by_layer;
      series.x.push_back(static_cast<double>(evaluation.step));
      series.y.push_back(i < by_layer.size() ? or_nan(by_layer[i].with_loss.spearman) : kNan);
    }
    chart.series.push_back(thinned(std::move(series), kMaxPoints));
  }
  return draw(chart);
}

}  // namespace

std::string difficulty_figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps) {
  const auto newest =
      std::find_if(metrics.evaluations.rbegin(), metrics.evaluations.rend(),
                   [](const EvaluationRecord& record) { return record.difficulty.has_value(); });
  if (newest == metrics.evaluations.rend() || newest->difficulty->layers.empty()) return {};
  const DifficultyRecord& record = *newest->difficulty;
  const Figures figures(metrics, planned_steps);
  return tenths(*newest, record) + by_word_position(record) + by_frequency(record) +
         correlations(metrics, figures, record);
}

}  // namespace switchyard::telemetry
