#include "switchyard/core/timing.h"

namespace switchyard {

void SpanTimer::add(std::string_view name, std::chrono::nanoseconds elapsed) {
  const auto found = spans_.find(name);
  if (found == spans_.end()) {
    spans_.emplace(name, elapsed);
  } else {
    found->second += elapsed;
  }
}

double SpanTimer::milliseconds(std::string_view name) const {
  const auto found = spans_.find(name);
  if (found == spans_.end()) return 0.0;
  return std::chrono::duration<double, std::milli>(found->second).count();
}

}  // namespace switchyard
