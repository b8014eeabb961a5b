#include "switchyard/compare/svg.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <functional>

#include "compare/curves.h"
#include "telemetry/report/axis.h"
#include "telemetry/report/html.h"

namespace switchyard::compare {
namespace {

namespace html = telemetry::html;

constexpr double kPanelWidth = 420;
constexpr double kPanelHeight = 300;
constexpr double kLeft = 56;
constexpr double kRight = 14;
constexpr double kTop = 34;
constexpr double kBottom = 44;
// Eight colours that stay apart for colour-blind eyes (Okabe and Ito).
constexpr std::array kColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                "#56b4e9", "#e69f00", "#000000", "#999999"};

const char* color_of(std::size_t run) {
  return kColors[run % kColors.size()];
}

struct Line {
  std::span<const double> x;
  std::span<const double> y;
};

struct Panel {
  std::string title;
  std::string x_name;
  std::vector<Line> lines;  // one per run
};

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n", html::coordinate(x),
                     html::coordinate(y), anchor, html::escape(text));
}

std::string draw(const Panel& panel, double origin_x) {
  telemetry::Range x_range;
  telemetry::Range y_range;
  x_range.add(0.0);
  for (const Line& line : panel.lines) {
    for (std::size_t i = 0; i < line.x.size(); ++i) {
      if (!std::isfinite(line.y[i])) continue;
      x_range.add(line.x[i]);
      y_range.add(line.y[i]);
    }
  }
  const telemetry::Axis x_axis = x_range.axis(0.0, 0.0);
  const telemetry::Axis y_axis = y_range.axis(0.05, 0.05);
  const double width = kPanelWidth - kLeft - kRight;
  const double height = kPanelHeight - kTop - kBottom;
  const auto x_at = [&](double x) { return origin_x + kLeft + width * x_axis.place(x); };
  const auto y_at = [&](double y) { return kTop + height * (1.0 - y_axis.place(y)); };

  std::string out = text_at(origin_x + kLeft + width / 2, kTop - 14, "middle", panel.title);
  out += text_at(origin_x + kLeft + width / 2, kPanelHeight - 8, "middle", panel.x_name);
  if (y_range.empty()) {
    return out + text_at(origin_x + kLeft + width / 2, kTop + height / 2, "middle", "no values");
  }
  for (const telemetry::Tick& tick : telemetry::ticks(y_axis, 5, false, false)) {
    const std::string y = html::coordinate(y_at(tick.value));
    out += fmt::format("<path class=\"grid\" d=\"M{} {}h{}\"/>\n",
                       html::coordinate(origin_x + kLeft), y, html::coordinate(width));
    out += text_at(origin_x + kLeft - 6, y_at(tick.value) + 4, "end", tick.text);
  }
  for (const telemetry::Tick& tick : telemetry::ticks(x_axis, 4, false, false)) {
    out += text_at(x_at(tick.value), kPanelHeight - kBottom + 16, "middle", tick.text);
  }
  for (std::size_t run = 0; run < panel.lines.size(); ++run) {
    const Line& line = panel.lines[run];
    std::string points;
    bool pen_down = false;
    for (std::size_t i = 0; i < line.x.size(); ++i) {
      const bool finite = std::isfinite(line.y[i]) && std::isfinite(line.x[i]);
      if (finite) {
        points += fmt::format("{}{} {}", pen_down ? "L" : "M", html::coordinate(x_at(line.x[i])),
                              html::coordinate(y_at(line.y[i])));
      }
      pen_down = finite;
    }
    if (points.empty()) continue;
    out += fmt::format("<path class=\"curve\" stroke=\"{}\" d=\"{}\"/>\n", color_of(run), points);
  }
  return out;
}

}  // namespace

std::string comparison_svg(std::span<const ComparedRun> runs) {
  std::vector<Progress> progress;
  for (const ComparedRun& run : runs) progress.push_back(progress_of(run));
  const Figure figure = figure_for(runs);
  const std::string title = figure.name + (figure.comparable ? "" : ", NOT comparable");
  Panel by_tokens{.title = title, .x_name = "training tokens", .lines = {}};
  Panel by_flops{.title = title, .x_name = "activated FLOPs", .lines = {}};
  Panel experts{.title = "experts per token", .x_name = "training tokens", .lines = {}};
  for (const Progress& of_run : progress) {
    const Curve curve = curve_of(of_run, figure.kind);
    by_tokens.lines.push_back({curve.tokens, curve.value});
    by_flops.lines.push_back({curve.flops, curve.value});
    experts.lines.push_back({of_run.tokens, of_run.experts_per_token});
  }
  constexpr double kLineHeight = 18;
  const double height = kPanelHeight + kLineHeight * static_cast<double>(runs.size()) + 12;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\">\n"
      "<style>text{{font:12px sans-serif;fill:#222}}.grid{{stroke:#ddd}}"
      ".curve{{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      html::coordinate(3 * kPanelWidth), html::coordinate(height));
  out += draw(by_tokens, 0) + draw(by_flops, kPanelWidth) + draw(experts, 2 * kPanelWidth);
  for (std::size_t run = 0; run < runs.size(); ++run) {
    const double y = kPanelHeight + kLineHeight * static_cast<double>(run) + 12;
    out += fmt::format("<path class=\"curve\" stroke=\"{}\" d=\"M{} {}h24\"/>\n", color_of(run),
                       html::coordinate(kLeft), html::coordinate(y - 4));
    out += text_at(kLeft + 32, y, "start", runs[run].name);
  }
  return out + "</svg>\n";
}

}  // namespace switchyard::compare
