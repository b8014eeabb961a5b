#include "telemetry/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "switchyard/core/text.h"
#include "telemetry/report/axis.h"
#include "telemetry/report/html.h"

namespace switchyard::telemetry {
namespace {

// The drawing area in SVG units; it is stretched to the size of its box.
constexpr double kSide = 1000.0;
constexpr std::size_t kMaxLegend = 12;

struct Axes {
  Axis x;
  Axis y;

  // "120.5 33" for a path.
  [[nodiscard]] std::string point(double x_value, double y_value) const {
    return html::coordinate(inside(x.place(x_value)) * kSide) + " " +
           html::coordinate(inside(1.0 - y.place(y_value)) * kSide);
  }
  // Only absurd values, which no axis reaches, are outside.
  [[nodiscard]] static double inside(double place) { return std::clamp(place, 0.0, 1.0); }
};

bool has_points(const Series& series) {
  return std::any_of(series.y.begin(), series.y.end(), [](double y) { return std::isfinite(y); });
}

Axes axes_of(const Chart& chart) {
  Range x;
  Range y;
  for (const Series& series : chart.series) {
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      x.add(series.x[i]);
      y.add(series.y[i]);
    }
  }
  for (const Band& band : chart.bands) {
    for (std::size_t i = 0; i < band.x.size(); ++i) {
      y.add(band.low[i]);
      y.add(band.high[i]);
    }
  }
  if (chart.x_to.has_value()) x.add(*chart.x_to);
  x.add(0.0);
  if (!chart.categories.empty()) x.add(static_cast<double>(chart.categories.size()) - 1.0);
  if (chart.y_from.has_value()) y.add(*chart.y_from);
  if (chart.y_to.has_value()) y.add(*chart.y_to);
  // Where the axis was asked to begin, nothing is left free.
  const bool begins = chart.y_from.has_value() && y.low() >= *chart.y_from;
  return {.x = x.axis(0.0, 0.0), .y = y.axis(begins ? 0.0 : 0.05, 0.05)};
}

std::string path_element(const std::string& css_class, const std::string& style,
                         const std::string& data) {
  return fmt::format("<path class=\"{}\" style=\"{}\" d=\"{}\"/>", css_class, style, data);
}

std::string line_path(const Series& series, const Axes& axes) {
  std::string data;
  bool drawing = false;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!std::isfinite(series.y[i])) {
      drawing = false;
      continue;
    }
    data += (drawing ? "L" : "M") + axes.point(series.x[i], series.y[i]);
    // A lone point is a line of no length, which round ends make a dot.
    const bool alone = !drawing && (i + 1 == series.x.size() || !std::isfinite(series.y[i + 1]));
    if (alone) data += "h0";
    drawing = true;
  }
  return path_element(series.faint ? "line faint" : "line", "stroke:" + series.color, data);
}

std::string dots_path(const Series& series, const Axes& axes) {
  std::string data;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (std::isfinite(series.y[i])) data += "M" + axes.point(series.x[i], series.y[i]) + "h0";
  }
  return path_element("dots", "stroke:" + series.color, data);
}

std::string band_path(const Band& band, const Axes& axes) {
  std::string forth;
  std::string back;
  for (std::size_t i = 0; i < band.x.size(); ++i) {
    if (!std::isfinite(band.low[i]) || !std::isfinite(band.high[i])) continue;
    forth += (forth.empty() ? "M" : "L") + axes.point(band.x[i], band.high[i]);
    back.insert(0, "L" + axes.point(band.x[i], band.low[i]));
  }
  if (forth.empty()) return {};
  return path_element("band", "fill:" + band.color, forth + back + "Z");
}

std::string legend(const Chart& chart) {
  const auto key = [](const std::string& color, const std::string& name, const char* kind) {
    return fmt::format("<span><i class=\"{}\" style=\"background:{}\"></i>{}</span>", kind, color,
                       html::escape(name));
  };
  std::vector<std::string> keys;
  for (const Series& series : chart.series) {
    if (!series.faint) keys.push_back(key(series.color, series.name, "line-key"));
  }
  // Colours of ordered series run through a range: its ends tell it.
  if (keys.size() > kMaxLegend) keys = {keys.front(), "<span>...</span>", keys.back()};
  for (const Band& band : chart.bands) keys.push_back(key(band.color, band.name, "band-key"));
  if (!chart.marks.empty()) keys.push_back(key("none", "resumed", "mark-key"));
  if (keys.size() < 2) return {};
  std::string text = "<div class=\"legend\">";
  for (const std::string& item : keys) text += item;
  return text + "</div>";
}

std::string json_numbers(const std::vector<double>& values) {
  std::string text = "[";
  for (const double value : values) {
    if (text.size() > 1) text += ",";
    text += std::isfinite(value) ? fmt::format("{:.5g}", value) : "null";
  }
  return text + "]";
}

std::string json_steps(const std::vector<double>& values) {
  std::string text = "[";
  for (const double value : values)
    text += fmt::format("{}{:.0f}", text.size() > 1 ? "," : "", value);
  return text + "]";
}

// No quote, backslash or control character is left in it.
std::string json_name(std::string name) {
  std::erase_if(name, [](char c) { return c == '"' || c == '\\' || c < ' '; });
  return '"' + name + '"';
}

// What the script needs to name the values under the pointer.
std::string hover_data(const Chart& chart, const Axes& axes) {
  std::string text = fmt::format("{{\"lo\":{:.6g},\"hi\":{:.6g},\"percent\":{},", axes.x.low,
                                 axes.x.high, chart.percent);
  if (!chart.categories.empty()) {
    std::vector<std::string> names;
    for (const std::string& category : chart.categories) names.push_back(json_name(category));
    text += "\"names\":[" + join(names, ",") + "],";
  }
  text += "\"series\":[";
  const std::vector<double>* last_x = nullptr;
  for (const Series& series : chart.series) {
    if (series.faint) continue;
    if (last_x != nullptr) text += ",";
    text += fmt::format("{{\"name\":{},\"color\":\"{}\",", json_name(series.name), series.color);
    // Series on the steps of the one before do not repeat them.
    if (last_x == nullptr || *last_x != series.x) text += "\"x\":" + json_steps(series.x) + ",";
    text += "\"y\":" + json_numbers(series.y) + "}";
    last_x = &series.x;
  }
  return html::escape(text + "]}");
}

std::vector<Tick> x_ticks_of(const Chart& chart, const Axis& axis) {
  std::vector<Tick> named;
  for (const std::string& category : chart.categories) {
    named.push_back({.value = static_cast<double>(named.size()), .text = html::escape(category)});
  }
  if (!named.empty()) return named;
  named = ticks(axis, chart.small ? 2 : 5, true, false);
  if (!named.empty()) named.front().text.insert(0, "step ");
  return named;
}

std::string plot(const Chart& chart, const Axes& axes) {
  const std::vector<Tick> y_ticks = ticks(axes.y, chart.small ? 2 : 4, false, chart.percent);
  std::string grid;
  std::string labels;
  for (const Tick& tick : y_ticks) {
    const double place = axes.y.place(tick.value);
    grid += fmt::format("M0 {}H1000", html::coordinate((1.0 - place) * kSide));
    labels += fmt::format("<span class=\"y\" style=\"bottom:{}%\">{}</span>",
                          html::coordinate(place * 100.0), tick.text);
  }
  for (const Tick& tick : x_ticks_of(chart, axes.x)) {
    labels += fmt::format("<span class=\"x\" style=\"left:{}%\">{}</span>",
                          html::coordinate(axes.x.place(tick.value) * 100.0), tick.text);
  }
  std::string drawing = path_element("grid", "", grid);
  for (const Band& band : chart.bands) drawing += band_path(band, axes);
  for (const double mark : chart.marks) {
    drawing += path_element(
        "mark", "", fmt::format("M{} 0V1000", html::coordinate(axes.x.place(mark) * kSide)));
  }
  for (const Series& series : chart.series) {
    drawing += line_path(series, axes);
    if (series.dots) drawing += dots_path(series, axes);
  }
  return fmt::format(
      "<div class=\"plot\"><svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" "
      "role=\"img\" aria-label=\"{}\">{}</svg>{}</div>",
      html::escape(chart.title), drawing, labels);
}

}  // namespace

std::string draw(const Chart& given) {
  Chart chart = given;
  std::erase_if(chart.series, [](const Series& series) { return !has_points(series); });
  std::string text = fmt::format("<figure class=\"chart{}{}\"", chart.small ? " small" : "",
                                 chart.wide ? " wide" : "");
  const std::string caption = fmt::format(
      "<figcaption>{}{}</figcaption>", html::escape(chart.title),
      chart.note.empty() ? "" : fmt::format("<small>{}</small>", html::escape(chart.note)));
  if (chart.series.empty()) {
    return text + ">" + caption + "<p class=\"none\">No values yet.</p></figure>";
  }
  const Axes axes = axes_of(chart);
  return text + fmt::format(" data-plot=\"{}\">", hover_data(chart, axes)) + caption +
         (chart.small ? std::string() : legend(chart)) + plot(chart, axes) + "</figure>\n";
}

namespace {

// The means (or maxima) of the finite values of equal parts of `values`; NaN for none.
std::vector<double> reduced(const std::vector<double>& values, std::size_t num, bool largest) {
  std::vector<double> result;
  for (std::size_t part = 0; part < num; ++part) {
    const std::size_t begin = part * values.size() / num;
    const std::size_t end = (part + 1) * values.size() / num;
    double sum = 0.0;
    double most = -std::numeric_limits<double>::infinity();
    std::size_t count = 0;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(values[i])) continue;
      sum += values[i];
      most = std::max(most, values[i]);
      ++count;
    }
    if (count == 0) {
      result.push_back(std::numeric_limits<double>::quiet_NaN());
    } else {
      result.push_back(largest ? most : sum / static_cast<double>(count));
    }
  }
  return result;
}

}  // namespace

Series thinned(Series series, std::size_t max_points, bool largest) {
  if (series.x.size() <= max_points) return series;
  // Steps are whole numbers, also those in between.
  series.x = reduced(series.x, max_points, true);
  series.y = reduced(series.y, max_points, largest);
  return series;
}

Band thinned(Band band, std::size_t max_points) {
  if (band.x.size() <= max_points) return band;
  band.x = reduced(band.x, max_points, true);
  band.low = reduced(band.low, max_points, false);
  band.high = reduced(band.high, max_points, false);
  return band;
}

std::vector<Series> with_trend(Series series) {
  constexpr std::size_t kNoisyFrom = 40;
  const std::size_t num = series.x.size();
  if (num < kNoisyFrom) return {std::move(series)};
  Series trend = series;
  const std::size_t reach = std::max<std::size_t>(1, num / 50);
  for (std::size_t i = 0; i < num; ++i) {
    // As many on both sides, so that a falling curve is not moved.
    const std::size_t half = std::min({reach, i, num - 1 - i});
    double sum = 0.0;
    double count = 0.0;
    for (std::size_t j = i - half; j <= i + half; ++j) {
      if (!std::isfinite(series.y[j])) continue;
      sum += series.y[j];
      count += 1.0;
    }
    trend.y[i] = count == 0.0 ? series.y[i] : sum / count;
  }
  series.faint = true;
  return {std::move(series), std::move(trend)};
}

std::string ordered_color(std::size_t idx, std::size_t num) {
  // From blue over violet to orange; --lum follows the page's mode.
  const double share = num < 2 ? 0.0 : static_cast<double>(idx) / static_cast<double>(num - 1);
  return fmt::format("hsl({:.0f} 68% var(--lum))", 212.0 + share * 170.0);
}

}  // namespace switchyard::telemetry
