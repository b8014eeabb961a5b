// A grid of coloured cells, and bars: the two figures of a page that are no lines over steps.
#pragma once

#include <string>
#include <vector>

namespace switchyard::telemetry {

struct HeatMap {
  enum class Scale {
    kRelative,  // 1 is even, 0 is dead: two colours for more and less
    kShare,     // 0 to 1: one colour
  };
  std::string title;
  std::string note = {};
  Scale scale = Scale::kShare;
  std::vector<std::string> rows = {};
  std::vector<std::string> columns = {};
  std::vector<std::vector<double>> cells = {};  // by row; a row may be shorter than the columns
};

[[nodiscard]] std::string draw(const HeatMap& map);

struct Bar {
  std::string label;
  double share = 0.0;  // of 1
};

struct Bars {
  std::string title;
  std::string note = {};
  std::vector<Bar> bars = {};
};

[[nodiscard]] std::string draw(const Bars& bars);

}  // namespace switchyard::telemetry
