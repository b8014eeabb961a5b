// What the terminal can do, progress bars, and short numbers for people.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace switchyard {

// True when standard error is a terminal (colours, redrawing in place) and NO_COLOR is unset.
[[nodiscard]] bool stderr_is_terminal();
[[nodiscard]] bool stdout_is_terminal();

[[nodiscard]] std::string format_count(double value);         // 5.1k, 1.41M, 3.5B
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);  // 1.2G
[[nodiscard]] std::string format_duration(double seconds);    // 12m, 1h05m, 42s

// One line redrawn in place on a terminal's standard error; log messages clear it first. Only for
// callers that checked stderr_is_terminal().
void draw_status_line(std::string_view text);
void clear_status_line();

// A bar redrawn in place on a terminal; on a pipe one line per 10 %.
class ProgressBar {
 public:
  ProgressBar(std::string label, std::uint64_t total);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void advance_to(std::uint64_t done);
  void finish();

 private:
  std::string label_;
  std::uint64_t total_;
  bool terminal_;
  bool finished_ = false;
  int last_percent_ = -1;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace switchyard
