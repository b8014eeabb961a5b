// What the terminal can do, progress bars, and short numbers for people.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace switchyard {

// A terminal on which lines can be redrawn in place.
[[nodiscard]] bool stderr_is_terminal();
[[nodiscard]] bool stdout_is_terminal();
// Such a terminal, and the environment does not ask for NO_COLOR (https://no-color.org).
[[nodiscard]] bool stderr_has_color();
[[nodiscard]] bool stdout_has_color();

// At once. Throws StorageError when standard output cannot take it.
void write_stdout(const std::string& text);

[[nodiscard]] std::string format_count(double value);         // 5.1k, 1.41M, 3.5B
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);  // 512B, 1.2G
// "3.4021". What is not a number has no sign: printf and fmt write "-nan" for half of them.
[[nodiscard]] std::string format_fixed(double value, int decimals);
[[nodiscard]] std::string format_duration(double seconds);  // 12m, 1h05m, 42s
// "80GiB", "80G" and "80 gib" are 80 * 2^30 bytes, as format_bytes writes them; "80GB" is 80 *
// 10^9, "512" and "512B" are bytes. Nothing for any other text, for 0 and for more than 2^63.
[[nodiscard]] std::optional<std::uint64_t> parse_bytes(std::string_view text);

// One line redrawn in place on a terminal's standard error; log messages clear it first. Only for
// callers that checked stderr_is_terminal().
void draw_status_line(std::string_view text);
void clear_status_line();

// How far a job is. On a terminal a bar redrawn in place; elsewhere a line for every 10 %, but none
// sooner than `between_lines` after the one before.
class ProgressBar {
 public:
  ProgressBar(std::string label, std::uint64_t total,
              std::chrono::milliseconds between_lines = std::chrono::seconds(5));
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void advance_to(std::uint64_t done);
  // Says how long it took. Without it the bar goes away and says nothing.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(int percent, double share) const;
  void write_line(int percent);

  std::string label_;
  std::uint64_t total_;
  std::chrono::milliseconds between_lines_;
  bool terminal_;
  bool finished_ = false;
  int last_percent_ = 0;
  Clock::time_point start_;
  Clock::time_point last_line_;
};

// That a job of unknown length still runs, and for how long: on a terminal a status line redrawn
// every second, elsewhere a line every minute. It goes away with the object.
class Activity {
 public:
  explicit Activity(std::string label);
  Activity(std::string label, std::chrono::milliseconds interval);
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

 private:
  void run(const std::stop_token& stop, std::chrono::milliseconds interval);

  std::string label_;
  bool terminal_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace switchyard
