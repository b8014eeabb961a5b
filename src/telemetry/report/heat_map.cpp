#include "telemetry/report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "telemetry/report/html.h"

namespace switchyard::telemetry {
namespace {

constexpr std::size_t kMaxCellsWithText = 16;  // columns
constexpr std::size_t kMaxLabels = 16;         // columns

// Class and opacity of a cell.
struct Paint {
  const char* css_class = "even";
  double opacity = 0.0;
};

Paint paint_of(double value, HeatMap::Scale scale) {
  if (!std::isfinite(value)) return {};
  if (scale == HeatMap::Scale::kShare) {
    return {.css_class = "share", .opacity = std::clamp(value, 0.0, 1.0)};
  }
  if (value <= 0.0) return {.css_class = "dead", .opacity = 1.0};
  // Full colour from four times the mean, or a quarter of it.
  const double distance = std::log2(value) / 2.0;
  return {.css_class = distance > 0.0 ? "over" : "under",
          .opacity = std::min(1.0, std::abs(distance))};
}

std::string cell_text(double value, HeatMap::Scale scale) {
  if (!std::isfinite(value)) return "?";
  if (scale == HeatMap::Scale::kShare) return fmt::format("{:.0f}", value * 100.0);
  if (value <= 0.0) return "0";
  return value < 100.0 ? fmt::format("{:.{}f}", value, value < 9.95 ? 1 : 0) : html::number(value);
}

std::string figure(const std::string& css_class, const std::string& title, const std::string& note,
                   const std::string& content) {
  return fmt::format("<figure class=\"{}\"><figcaption>{}{}</figcaption>{}</figure>\n", css_class,
                     html::escape(title),
                     note.empty() ? "" : fmt::format("<small>{}</small>", html::escape(note)),
                     content);
}

constexpr const char* kRelativeLegend =
    "<div class=\"legend\"><span><i class=\"cell dead\"></i>no token</span>"
    "<span><i class=\"cell under\"></i>1/4 of the mean or less</span>"
    "<span><i class=\"cell even\"></i>even</span>"
    "<span><i class=\"cell over\"></i>4 times the mean or more</span></div>";

}  // namespace

std::string draw(const HeatMap& map) {
  const auto num_rows = static_cast<double>(map.rows.size());
  const auto num_columns = static_cast<double>(map.columns.size());
  if (map.rows.empty() || map.columns.empty()) {
    return figure("heat", map.title, map.note, "<p class=\"none\">No values yet.</p>");
  }
  const bool with_text = map.columns.size() <= kMaxCellsWithText;
  std::string rects;
  std::string spans;
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    const std::string middle =
        html::coordinate((static_cast<double>(row) + 0.5) / num_rows * 100.0);
    spans += fmt::format("<span class=\"y\" style=\"top:{}%\">{}</span>", middle,
                         html::escape(map.rows[row]));
    for (std::size_t column = 0; column < map.cells[row].size(); ++column) {
      const double value = map.cells[row][column];
      const Paint paint = paint_of(value, map.scale);
      rects += fmt::format(
          "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"1\" height=\"1\" fill-opacity=\"{}\">"
          "<title>{}, {}: {}</title></rect>",
          paint.css_class, column, row, html::coordinate(paint.opacity),
          html::escape(map.rows[row]), html::escape(map.columns[column]),
          map.scale == HeatMap::Scale::kShare ? html::escape(html::percent(value))
                                              : html::number(value));
      if (with_text) {
        spans +=
            fmt::format("<span class=\"v {}\" style=\"top:{}%;left:{}%\">{}</span>",
                        paint.opacity > 0.68 ? "strong" : "weak", middle,
                        html::coordinate((static_cast<double>(column) + 0.5) / num_columns * 100.0),
                        cell_text(value, map.scale));
      }
    }
  }
  const std::size_t every = (map.columns.size() + kMaxLabels - 1) / kMaxLabels;
  for (std::size_t column = 0; column < map.columns.size(); column += every) {
    spans +=
        fmt::format("<span class=\"x\" style=\"left:{}%\">{}</span>",
                    html::coordinate((static_cast<double>(column) + 0.5) / num_columns * 100.0),
                    html::escape(map.columns[column]));
  }
  const double height = std::clamp(num_rows * 30.0, 40.0, 640.0);
  return figure(
      "heat", map.title, map.note,
      (map.scale == HeatMap::Scale::kRelative ? std::string(kRelativeLegend) : std::string()) +
          fmt::format(
              "<div class=\"plot{}\" style=\"height:{:.0f}px\"><svg viewBox=\"0 0 {} {}\" "
              "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">{}</svg>{}</div>",
              map.columns.size() > 8 ? " dense" : "", height, map.columns.size(), map.rows.size(),
              html::escape(map.title), rects, spans));
}

std::string draw(const Bars& bars) {
  double largest = 0.0;
  for (const Bar& bar : bars.bars) largest = std::max(largest, bar.share);
  if (!(largest > 0.0)) {
    return figure("bars", bars.title, bars.note, "<p class=\"none\">No values yet.</p>");
  }
  std::string content = fmt::format("<div class=\"row{}\">", bars.bars.size() > 12 ? " dense" : "");
  for (const Bar& bar : bars.bars) {
    const std::string share = html::escape(html::percent(bar.share));
    content += fmt::format(
        "<div title=\"{}: {}\"><span>{}</span><i style=\"height:{}%\"></i><b>{}</b></div>",
        html::escape(bar.label), share, share, html::coordinate(bar.share / largest * 100.0),
        html::escape(bar.label));
  }
  return figure("bars", bars.title, bars.note, content + "</div>");
}

}  // namespace switchyard::telemetry
