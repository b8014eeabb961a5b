#include "switchyard/core/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

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
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* kind = std::getenv("TERM");
  if (kind != nullptr && std::string_view(kind) == "dumb") return false;
  return ::isatty(descriptor) == 1;
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

std::string format_count(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  return with_suffix(value, 1000.0, {"", "k", "M", "B", "T", "P"}, 2);
}

std::string format_bytes(std::uint64_t bytes) {
  return with_suffix(static_cast<double>(bytes), 1024.0, {"", "K", "M", "G", "T", "P"}, 1);
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

ProgressBar::ProgressBar(std::string label, std::uint64_t total)
    : label_(std::move(label)),
      total_(total),
      terminal_(stderr_is_terminal()),
      start_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (terminal_ && !finished_) clear_status_line();
}

void ProgressBar::advance_to(std::uint64_t done) {
  if (finished_) return;
  const double share =
      total_ == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const int percent = static_cast<int>(share * 100.0);
  if (!terminal_) {
    // A log keeps one line per ten per cent.
    if (percent / 10 == last_percent_ / 10 && last_percent_ >= 0) return;
    if (last_percent_ < 0 && percent < 10) {
      last_percent_ = 0;
      return;
    }
    last_percent_ = percent;
    put(fmt::format("{} {}%\n", label_, percent));
    return;
  }
  if (percent == last_percent_) return;
  last_percent_ = percent;
  constexpr int kWidth = 30;
  const int filled = percent * kWidth / 100;
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const std::string left =
      share > 0.02 ? format_duration(elapsed / share * (1.0 - share)) : std::string("?");
  draw_status_line(fmt::format("{} [{:#>{}}{:.>{}}] {}% eta {}", label_, "", filled, "",
                               kWidth - filled, percent, left));
}

void ProgressBar::finish() {
  if (std::exchange(finished_, true)) return;
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (terminal_) clear_status_line();
  put(fmt::format("{} done in {}\n", label_, format_duration(elapsed)));
}

}  // namespace switchyard
