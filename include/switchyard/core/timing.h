// Wall time, and named spans of the training step: a Span measures its scope and adds it to a
// SpanTimer.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace switchyard {

[[nodiscard]] inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Sums of wall time by span name since the last reset.
class SpanTimer {
 public:
  void add(std::string_view name, std::chrono::nanoseconds elapsed);
  [[nodiscard]] double milliseconds(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, std::chrono::nanoseconds, std::less<>>& spans() const {
    return spans_;
  }
  void reset() { spans_.clear(); }

 private:
  std::map<std::string, std::chrono::nanoseconds, std::less<>> spans_;
};

class Span {
 public:
  Span(SpanTimer& timer, std::string_view name)
      : timer_(timer), name_(name), start_(std::chrono::steady_clock::now()) {}
  ~Span() { timer_.add(name_, std::chrono::steady_clock::now() - start_); }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  SpanTimer& timer_;
  std::string_view name_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace switchyard
