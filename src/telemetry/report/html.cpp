#include "telemetry/report/html.h"

#include <fmt/format.h>

#include <cmath>

#include "switchyard/core/terminal.h"
#include "switchyard/core/utf8.h"

namespace switchyard::telemetry::html {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

bool is_control(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return (value < 0x20 && byte != '\n' && byte != '\t') || value == 0x7F;
}

std::string without_trailing_zeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_character_length(text);
    const char first = text.front();
    if (length == 0 || is_control(first)) {
      if (first != '\r') out += kReplacement;  // of a line end
    } else if (first == '&') {
      out += "&amp;";
    } else if (first == '<') {
      out += "&lt;";
    } else if (first == '>') {
      out += "&gt;";
    } else if (first == '"') {
      out += "&quot;";
    } else if (first == '\'') {
      out += "&#39;";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string coordinate(double value) {
  const std::string text = without_trailing_zeros(fmt::format("{:.2f}", value));
  return text == "-0" ? "0" : text;
}

std::string number(double value) {
  if (!std::isfinite(value)) return "not finite";
  const double size = std::abs(value);
  if (size >= 1e4) return format_count(value);
  if (size != 0.0 && size < 1e-4) return fmt::format("{:.3g}", value);
  return fmt::format("{:.4g}", value);
}

std::string percent(double share) {
  if (!std::isfinite(share)) return "?";
  if (share > 0.0 && share < 0.0005) return "<0.1%";
  return fmt::format("{:.{}f}%", share * 100.0, std::abs(share) < 0.0995 && share != 0.0 ? 1 : 0);
}

}  // namespace switchyard::telemetry::html
