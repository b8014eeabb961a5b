// The range of an axis and where its labels stand.
#pragma once

#include <limits>
#include <string>
#include <vector>

namespace switchyard::telemetry {

struct Axis {
  double low = 0.0;
  double high = 1.0;
  // 0 at `low`, 1 at `high`.
  [[nodiscard]] double place(double value) const { return (value - low) / (high - low); }
};

// Collects finite values.
class Range {
 public:
  void add(double value);
  [[nodiscard]] bool empty() const { return low_ > high_; }
  [[nodiscard]] double low() const { return low_; }
  // Both ends apart and finite. The margins are shares of the range, left free at the ends.
  [[nodiscard]] Axis axis(double margin_low, double margin_high) const;

 private:
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
};

struct Tick {
  double value = 0.0;
  std::string text;
};

// About `num` round values (1, 2 or 5 times a power of ten apart) inside the axis. `whole`: only
// integers.
[[nodiscard]] std::vector<Tick> ticks(const Axis& axis, int num, bool whole, bool percent);

}  // namespace switchyard::telemetry
