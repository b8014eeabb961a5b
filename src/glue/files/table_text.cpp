#include "glue/files/table_text.h"

#include <algorithm>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"
#include "switchyard/data/text_file.h"

namespace switchyard::glue {

std::string read_table(const std::string& path, const std::string& command) {
  std::string text = data::read_text(path, command).text;
  const auto bad = first_invalid_utf8(text);
  if (!bad) return text;
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(*bad);
  throw DataError(fmt::format("{}:{}: at byte {}: not valid UTF-8",
                              data::is_standard_input(path) ? data::kStandardInput : path,
                              1 + std::count(text.begin(), end, '\n'), *bad),
                  data::hint_for_invalid_text(
                      text, *bad, data::command_that_reads(path, std::nullopt), command));
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
