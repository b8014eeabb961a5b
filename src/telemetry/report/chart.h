// Line charts of a page. Lines and bands are SVG that stretches with the page; all text beside them
// is HTML, so that it keeps its size on a phone and on a wide screen. Without scripts a chart is
// complete; with them it shows the values under the pointer.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace switchyard::telemetry {

// Points in the order of x; a y that is not finite is a gap.
struct Series {
  std::string name;
  std::string color;  // CSS
  std::vector<double> x = {};
  std::vector<double> y = {};
  bool faint = false;  // behind a smoothed line; neither in the legend nor under the pointer
  bool dots = false;   // few points: each one marked
};

// The area between two lines.
struct Band {
  std::string name;
  std::string color;  // CSS
  std::vector<double> x = {};
  std::vector<double> low = {};
  std::vector<double> high = {};
};

struct Chart {
  std::string title;
  std::string note = {};  // one line under the title
  std::vector<Series> series = {};
  std::vector<Band> bands = {};
  // What x = 0, 1, ... stands for; empty: x is a step.
  std::vector<std::string> categories = {};
  std::vector<double> marks = {};     // vertical lines: resumes
  std::optional<double> y_from = {};  // the axis reaches at least down to this
  std::optional<double> y_to = {};    // and at least up to this
  std::optional<double> x_to = {};    // the axis reaches to this: the planned end
  bool percent = false;               // y is a share of 1
  bool small = false;                 // one of many: low, no legend
  bool wide = false;                  // takes a whole row
};

// A <figure>. Series without a finite point are left out; a chart without any says so.
[[nodiscard]] std::string draw(const Chart& chart);

// At most `max_points` points, each the mean (or `largest`: the maximum) of neighbours.
[[nodiscard]] Series thinned(Series series, std::size_t max_points, bool largest = false);
[[nodiscard]] Band thinned(Band band, std::size_t max_points);

// The series and, where it is long enough to be noisy, its moving average in front of it.
[[nodiscard]] std::vector<Series> with_trend(Series series);

// The colour of item `idx` of `num` ordered ones (layers by depth).
[[nodiscard]] std::string ordered_color(std::size_t idx, std::size_t num);

}  // namespace switchyard::telemetry
