#include "telemetry/report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "switchyard/core/terminal.h"

namespace switchyard::telemetry {
namespace {

// 1, 2 or 5 times a power of ten, near range / num.
double round_step(double range, int num) {
  const double raw = range / num;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * 1.0001) return factor * power;
  }
  return 10.0 * power;
}

std::string tick_text(double value, double step, bool percent) {
  if (percent) {
    const int decimals = step < 0.0099 ? 1 : 0;
    return fmt::format("{:.{}f}%", value * 100.0, decimals);
  }
  if (value == 0.0) return "0";
  if (std::abs(value) >= 1000.0) return format_count(value);
  if (step < 1e-4) return fmt::format("{:.2g}", value);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

void Range::add(double value) {
  // Beyond this, differences lose their meaning and may overflow.
  constexpr double kLargest = 1e300;
  if (!(std::abs(value) < kLargest)) return;
  low_ = std::min(low_, value);
  high_ = std::max(high_, value);
}

Axis Range::axis(double margin_low, double margin_high) const {
  if (empty()) return {};
  const double size = std::max(std::abs(low_), std::abs(high_));
  const double range = high_ - low_;
  if (size < 1e-300) return {.low = 0.0, .high = 1.0};  // nothing but zeros: counts, on the floor
  if (range <= size * 1e-9) {                           // one value: put it into the middle
    return {.low = low_ - size * 0.05, .high = high_ + size * 0.05};
  }
  return {.low = low_ - range * margin_low, .high = high_ + range * margin_high};
}

std::vector<Tick> ticks(const Axis& axis, int num, bool whole, bool percent) {
  double step = round_step(axis.high - axis.low, num);
  if (whole) step = std::max(1.0, std::round(step));
  std::vector<Tick> result;
  const double first = std::ceil(axis.low / step - 1e-9) + 0.0;  // never -0
  const double last = std::floor(axis.high / step + 1e-9);
  for (double i = first; i <= last && result.size() < 50; i += 1.0) {
    const double value = i * step;
    result.push_back({.value = value, .text = tick_text(value, step, percent)});
  }
  return result;
}

}  // namespace switchyard::telemetry
