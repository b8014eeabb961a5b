#include "glue/report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "glue/references.h"
#include "switchyard/core/text.h"
#include "telemetry/report/document.h"
#include "telemetry/report/heat_map.h"
#include "telemetry/report/html.h"

namespace switchyard::glue {
namespace {

namespace html = telemetry::html;

// A place on a strip from the least to the greatest value that is shown.
struct Scale {
  double low = 0.0;
  double high = 1.0;
  [[nodiscard]] std::string percent(double value) const {
    return html::coordinate(100.0 * (value - low) / (high - low)) + "%";
  }
};

struct Mark {
  std::string name;
  double value = 0.0;
  std::string color;  // CSS
};

std::string cell(double value) {
  return std::isfinite(value) ? fmt::format("{:.3f}", value) : "-";
}

Scale scale_of(const std::vector<double>& seeds, const std::vector<Mark>& marks) {
  Scale scale{.low = 0.0, .high = 1.0};
  const auto reach = [&scale](double value) { scale.low = std::min(scale.low, value); };
  for (const double value : seeds) reach(value);
  for (const Mark& mark : marks) reach(mark.value);
  return scale;
}

// Seeds as dots, what they are compared with as lines.
std::string strip(const std::vector<double>& seeds, const std::vector<Mark>& marks) {
  const Scale scale = scale_of(seeds, marks);
  std::string text =
      "<svg width=\"100%\" height=\"34\" role=\"img\"><line x1=\"0\" x2=\"100%\" y1=\"17\" "
      "y2=\"17\" stroke=\"var(--grid)\" stroke-width=\"2\"/>";
  for (const Mark& mark : marks) {
    text += fmt::format(
        "<line x1=\"{0}\" x2=\"{0}\" y1=\"4\" y2=\"30\" stroke=\"{1}\" stroke-width=\"2\">"
        "<title>{2} {3}</title></line>",
        scale.percent(mark.value), mark.color, html::escape(mark.name), cell(mark.value));
  }
  for (const double value : seeds) {
    text += fmt::format(
        "<circle cx=\"{}\" cy=\"17\" r=\"5\" fill=\"var(--blue)\" fill-opacity=\".7\">"
        "<title>{}</title></circle>",
        scale.percent(value), cell(value));
  }
  return text + "</svg>";
}

std::string legend(const std::vector<Mark>& marks) {
  std::string text = "<div class=\"legend\">";
  for (const Mark& mark : marks) {
    text += fmt::format("<span><i style=\"background:{}\"></i>{} {}</span>", mark.color,
                        html::escape(mark.name), cell(mark.value));
  }
  return text + "</div>";
}

std::string figure(const TaskResult& result, const MetricRow& row) {
  std::vector<Mark> marks;
  const auto add = [&](const std::string& name, std::optional<double> value, const char* color) {
    if (value && std::isfinite(*value)) {
      marks.push_back({.name = name, .value = *value, .color = color});
    }
  };
  add("majority", row.majority, "var(--band)");
  add("baseline", row.baseline, "var(--orange)");
  for (const Reference& reference : references()) {
    add(reference.name, reference_figure(reference, result.task.name, row.key), "var(--green)");
  }
  std::vector<double> seeds = row.by_seed;
  std::erase_if(seeds, [](double value) { return !std::isfinite(value); });
  return fmt::format(
      "<figure><figcaption>{} {}<small>median {}, {} to {} over {}</small></figcaption>{}{}"
      "</figure>",
      html::escape(result.task.folder), html::escape(row.key), cell(row.spread.median),
      cell(row.spread.least), cell(row.spread.most), counted(std::ssize(row.by_seed), "seed"),
      strip(seeds, marks), legend(marks));
}

std::string experts(const std::vector<TaskResult>& results) {
  std::set<std::int64_t> layers;
  std::vector<std::map<std::int64_t, double>> medians;
  for (const TaskResult& result : results) {
    medians.push_back(experts_per_token_of_layer(result));
    for (const auto& [layer, k] : medians.back()) layers.insert(layer);
  }
  if (layers.empty()) return {};
  telemetry::HeatMap map{
      .title = "Experts per token by task and layer",
      .note = "against the layer's mean over tasks: 1 is even; a task that needs more stands out",
      .scale = telemetry::HeatMap::Scale::kRelative};
  std::map<std::int64_t, double> mean;
  for (const std::int64_t layer : layers) {
    map.columns.push_back(fmt::format("layer {}", layer));
    double sum = 0.0;
    double count = 0.0;
    for (const auto& of_task : medians) {
      if (!of_task.contains(layer)) continue;
      sum += of_task.at(layer);
      count += 1.0;
    }
    mean[layer] = sum / count;
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (medians[i].empty()) continue;
    map.rows.push_back(results[i].task.folder);
    std::vector<double> cells;
    for (const std::int64_t layer : layers) {
      const auto found = medians[i].find(layer);  // a damaged file may lack one
      cells.push_back(found == medians[i].end() ? std::nan("") : found->second / mean[layer]);
    }
    map.cells.push_back(std::move(cells));
  }
  return telemetry::draw(map);
}

std::string notes(const std::vector<TaskResult>& results) {
  std::string text;
  for (const TaskResult& result : results) {
    for (const std::string& line : warnings_of(result)) {
      text += fmt::format("<li class=\"bad\">{}</li>", html::escape(line));
    }
  }
  for (const Reference& reference : references()) {
    text += fmt::format("<li>{}: {}</li>", html::escape(reference.name),
                        html::escape(reference.source));
  }
  return "<ul class=\"summary\">" + text + "</ul>\n";
}

}  // namespace

std::string report_page(const std::string& title, const std::vector<TaskResult>& results) {
  std::string figures;
  std::int64_t num_seeds = 0;
  for (const TaskResult& result : results) {
    num_seeds = std::max<std::int64_t>(num_seeds, std::ssize(result.seeds));
    for (const MetricRow& row : metric_rows(result)) figures += figure(result, row);
  }
  std::string body = fmt::format(
      "<div class=\"top\"><h1>{}</h1></div><p class=\"sub\">{}, {} each; dots are seeds</p>\n",
      html::escape(title), counted(std::ssize(results), "task"), counted(num_seeds, "seed"));
  body += notes(results);
  body += telemetry::section("Tasks", "<div class=\"grid\">" + figures + "</div>");
  body += telemetry::section("Experts", experts(results));
  return telemetry::document(title, body);
}

}  // namespace switchyard::glue
