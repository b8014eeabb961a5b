#include "switchyard/format/tsv.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"

namespace switchyard::format {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 24;
constexpr std::size_t kMaxColumns = 1000;

std::string_view checked(std::string_view text, const std::string& name) {
  if (const auto bad = first_invalid_utf8(text)) {
    const std::string_view before = text.substr(0, *bad);
    throw DataError(fmt::format("{}:{}: at byte {}: not valid UTF-8", name,
                                1 + std::count(before.begin(), before.end(), '\n'), *bad),
                    "convert it to UTF-8 (iconv -f ENCODING -t UTF-8 IN > OUT)");
  }
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

}  // namespace

TsvReader::TsvReader(std::string_view text, std::string name, Header header)
    : name_(std::move(name)), lines_(checked(text, name_), name_, kMaxLineBytes) {
  if (header == Header::kNone) return;
  const auto first = lines_.next();
  if (!first.has_value()) {
    throw DataError(fmt::format("{}: empty, expected a line that names the columns", name_),
                    "is it the right file, and all of it?");
  }
  const auto names = split(first->text, "\t");
  if (names.size() > kMaxColumns) {
    throw DataError(fmt::format("{}:1: {} columns, more than {}", name_, names.size(), kMaxColumns),
                    "is this a tab-separated file with a header line?");
  }
  for (const std::string_view column : names) {
    if (column.empty()) {
      throw DataError(fmt::format("{}:1: column {} has no name", name_, columns_.size() + 1));
    }
    if (std::find(columns_.begin(), columns_.end(), column) != columns_.end()) {
      throw DataError(fmt::format("{}:1: two columns are named '{}'", name_, printable(column)));
    }
    columns_.emplace_back(column);
  }
  num_fields_ = columns_.size();
}

std::optional<TsvReader::Row> TsvReader::next() {
  const auto line = lines_.next();
  if (!line.has_value()) return std::nullopt;
  Row row{.field = split(line->text, "\t"), .number = line->number};
  if (!num_fields_.has_value()) num_fields_ = row.field.size();
  if (row.field.size() != *num_fields_) {
    throw DataError(fmt::format("{}:{}: {} between tabs, expected {}", name_, row.number,
                                counted(std::ssize(row.field), "field"), *num_fields_),
                    columns_.empty()
                        ? "every row must have as many fields as the first"
                        : "every row must have as many fields as the first line has names");
  }
  return row;
}

std::size_t TsvReader::column(std::string_view column_name) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column_name);
  if (found == columns_.end()) {
    throw DataError(fmt::format("{}:1: no column '{}'; there are: {}", name_,
                                printable(column_name), printable(join(columns_, ", "), 400)));
  }
  return static_cast<std::size_t>(found - columns_.begin());
}

}  // namespace switchyard::format
