#include "checkpoint/piece_name.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

namespace switchyard::checkpoint {
namespace {

// Takes a number and the character behind it off the front.
std::optional<std::int64_t> take_number(std::string_view& text, char behind) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || value < 0 || length == text.size() || *end != behind) {
    return std::nullopt;
  }
  text.remove_prefix(length + 1);
  return value;
}

}  // namespace

std::string to_string(const PieceName& piece) {
  return fmt::format("{}[{}:{}/{}]", piece.name, piece.range.begin,
                     piece.range.begin + piece.range.numel, piece.total);
}

std::optional<PieceName> parse_piece_name(std::string_view text) {
  const std::size_t bracket = text.rfind('[');
  if (bracket == std::string_view::npos || bracket == 0) return std::nullopt;
  std::string_view numbers = text.substr(bracket + 1);
  const auto begin = take_number(numbers, ':');
  const auto end = take_number(numbers, '/');
  const auto total = take_number(numbers, ']');
  if (!begin || !end || !total || !numbers.empty()) return std::nullopt;
  if (*begin >= *end || *end > *total) return std::nullopt;
  return PieceName{.name = std::string(text.substr(0, bracket)),
                   .range = {.begin = *begin, .numel = *end - *begin},
                   .total = *total};
}

}  // namespace switchyard::checkpoint
