#include "switchyard/core/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "core/write_all.h"
#include "switchyard/core/error.h"
#include "switchyard/core/timing.h"

namespace switchyard {
namespace {

// Not fmt::print: it throws when standard error is closed.
void put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

std::mutex status_mutex;
bool status_shown = false;

bool is_terminal(int descriptor) {
  const char* kind = std::getenv("TERM");
  if (kind != nullptr && std::string_view(kind) == "dumb") return false;
  return ::isatty(descriptor) == 1;
}

bool has_color(int descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  return (no_color == nullptr || *no_color == '\0') && is_terminal(descriptor);
}

// `value` in [1, 1000) with three significant digits at most: 5.1, 38, 1.41.
std::string short_number(double value, int decimals) {
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.find('.') == std::string::npos) return text;
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string with_suffix(double value, double base, const std::array<const char*, 6>& suffixes,
                        int decimals) {
  const bool negative = value < 0;
  double rest = std::abs(value);
  std::size_t idx = 0;
  // 999.95 would print as "1000": it belongs to the next unit.
  while (rest >= base * 0.9995 && idx + 1 < suffixes.size()) {
    rest /= base;
    ++idx;
  }
  const int kept = rest >= 99.95 ? 0 : (rest >= 9.995 ? std::min(decimals, 1) : decimals);
  return fmt::format("{}{}{}", negative ? "-" : "", short_number(rest, kept), suffixes[idx]);
}

}  // namespace

bool stderr_is_terminal() {
  return is_terminal(STDERR_FILENO);
}
bool stdout_is_terminal() {
  return is_terminal(STDOUT_FILENO);
}
bool stderr_has_color() {
  return has_color(STDERR_FILENO);
}
bool stdout_has_color() {
  return has_color(STDOUT_FILENO);
}

void draw_status_line(std::string_view text) {
  const std::lock_guard lock(status_mutex);
  put(fmt::format("\r{}\033[K", text));
  status_shown = true;
}

void clear_status_line() {
  const std::lock_guard lock(status_mutex);
  if (!std::exchange(status_shown, false)) return;
  put("\r\033[K");
}

void write_stdout(const std::string& text) {
  if (std::fflush(stdout) != 0 || write_all(STDOUT_FILENO, text) != 0) {
    throw StorageError("cannot write to standard output");
  }
}

std::string format_count(double value) {
  if (!std::isfinite(value)) return format_fixed(value, 0);
  return with_suffix(value, 1000.0, {"", "k", "M", "B", "T", "P"}, 2);
}

std::string format_bytes(std::uint64_t bytes) {
  return with_suffix(static_cast<double>(bytes), 1024.0, {"B", "K", "M", "G", "T", "P"}, 1);
}

std::string format_fixed(double value, int decimals) {
  if (std::isnan(value)) return "nan";
  return fmt::format("{:.{}f}", value, decimals);
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  double number = 0.0;
  const auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || !(number > 0.0)) return std::nullopt;
  std::string unit(rest, text.data() + text.size());
  if (unit.starts_with(' ')) unit.erase(0, 1);
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  double factor = 1.0;
  if (!unit.empty() && unit != "b") {
    const std::size_t power = std::string_view("kmgtp").find(unit[0]);
    const std::string_view after = std::string_view(unit).substr(1);
    if (power == std::string_view::npos || !(after.empty() || after == "b" || after == "ib")) {
      return std::nullopt;
    }
    factor = std::pow(after == "b" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  const double bytes = std::round(number * factor);
  if (bytes < 1.0 || bytes > 0x1p63) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  if (seconds > 1e12) return "?";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  if (total < 60) return fmt::format("{}s", total);
  const std::int64_t minutes = (total + 30) / 60;
  if (total < 600) return fmt::format("{}m{:02}s", total / 60, total % 60);
  if (minutes < 60) return fmt::format("{}m", minutes);
  if (minutes < 48 * 60) return fmt::format("{}h{:02}m", minutes / 60, minutes % 60);
  return fmt::format("{}d{:02}h", minutes / 1440, minutes % 1440 / 60);
}

ProgressBar::ProgressBar(std::string label, std::uint64_t total,
                         std::chrono::milliseconds between_lines)
    : label_(std::move(label)),
      total_(total),
      between_lines_(between_lines),
      terminal_(stderr_is_terminal()),
      start_(Clock::now()),
      last_line_(start_) {
  if (terminal_) draw(0, 0.0);
}

ProgressBar::~ProgressBar() {
  if (terminal_ && !finished_) clear_status_line();
}

void ProgressBar::advance_to(std::uint64_t done) {
  if (finished_) return;
  const double share =
      total_ == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const int percent = static_cast<int>(share * 100.0);
  if (!terminal_) {
    write_line(percent);
  } else if (percent != last_percent_) {
    last_percent_ = percent;
    draw(percent, share);
  }
}

void ProgressBar::write_line(int percent) {
  const auto now = Clock::now();
  if (percent / 10 == last_percent_ / 10 || now - last_line_ < between_lines_) return;
  last_percent_ = percent;
  last_line_ = now;
  put(fmt::format("{} {}%\n", label_, percent));
}

void ProgressBar::draw(int percent, double share) const {
  constexpr int kWidth = 30;
  const int filled = percent * kWidth / 100;
  const std::string left = share > 0.02
                               ? format_duration(seconds_since(start_) / share * (1.0 - share))
                               : std::string("?");
  draw_status_line(fmt::format("{} [{:#>{}}{:.>{}}] {}% eta {}", label_, "", filled, "",
                               kWidth - filled, percent, left));
}

void ProgressBar::finish() {
  if (std::exchange(finished_, true)) return;
  if (terminal_) clear_status_line();
  put(fmt::format("{} done in {}\n", label_, format_duration(seconds_since(start_))));
}

Activity::Activity(std::string label)
    : Activity(std::move(label),
               stderr_is_terminal() ? std::chrono::seconds(1) : std::chrono::minutes(1)) {}

Activity::Activity(std::string label, std::chrono::milliseconds interval)
    : label_(std::move(label)),
      terminal_(stderr_is_terminal()),
      thread_([this, interval](const std::stop_token& stop) { run(stop, interval); }) {}

Activity::~Activity() {
  thread_.request_stop();
  thread_.join();
  if (terminal_) clear_status_line();
}

void Activity::run(const std::stop_token& stop, std::chrono::milliseconds interval) {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, stop, interval, [&stop] { return stop.stop_requested(); })) {
    const std::string text = fmt::format("{}: {}", label_, format_duration(seconds_since(start)));
    if (terminal_) {
      draw_status_line(text);
    } else {
      put(text + " so far\n");
    }
  }
}

}  // namespace switchyard
