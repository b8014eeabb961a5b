#include "glue/files/table_text.h"

#include <algorithm>
#include <string_view>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/data/text_file.h"

namespace switchyard::glue {

namespace {

// A line of nothing is a row of a file with one column only: an empty text.
void drop_blank_end(std::string& text) {
  const std::string_view first = std::string_view(text).substr(0, text.find('\n'));
  if (first.find('\t') == std::string_view::npos && !first.starts_with('{')) return;
  const std::size_t last = text.find_last_not_of("\r\n");
  if (last == std::string::npos) return;
  const std::size_t end = text.find('\n', last);
  if (end != std::string::npos) text.resize(end + 1);
}

}  // namespace

std::string read_table(const std::string& path, const std::string& command) {
  std::string text = data::read_utf8_text(path, command).text;
  drop_blank_end(text);
  return text;
}

std::string checked_field(std::string text, const char* what, const std::string& place) {
  constexpr char kDelete = 0x7f;
  const bool is_plain = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == kDelete;
  });
  if (is_plain) return text;
  throw DataError(
      fmt::format("{}: the {} '{}' has a control character", place, what, printable(text)),
      "it goes into tables of one row a line, with tabs between fields; take it out");
}

}  // namespace switchyard::glue
