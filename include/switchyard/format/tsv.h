// Tab-separated values: one row per line, fields cut at every tab. Quotes are ordinary characters
// (GLUE's files hold unpaired ones), so a field can hold neither a tab nor a line break.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/format/jsonl.h"

namespace switchyard::format {

class TsvReader {
 public:
  enum class Header {
    kFirstLine,  // names the columns; every row must have as many fields
    kNone,       // the first row says how many fields every row has
  };
  struct Row {
    std::vector<std::string_view> field;
    std::size_t number = 0;  // of the line, from 1
  };

  // A byte order mark is dropped; lines may end in CRLF. `name` is for errors; the text must
  // outlive the reader and its rows. Throws DataError: not UTF-8 (with line and offset), no header
  // line, a column name that is empty or there twice.
  TsvReader(std::string_view text, std::string name, Header header);

  // The next row, or none at the end. Throws DataError (name:line) for a row with more or fewer
  // fields than the others, an empty line among them; reading may go on behind it.
  [[nodiscard]] std::optional<Row> next();

  // Names of the header, empty without one.
  [[nodiscard]] const std::vector<std::string>& columns() const noexcept { return columns_; }
  // Place of a column. Throws DataError listing the columns when there is none of this name.
  [[nodiscard]] std::size_t column(std::string_view column_name) const;

 private:
  std::string name_;
  LineReader lines_;
  std::vector<std::string> columns_;
  std::optional<std::size_t> num_fields_;
};

}  // namespace switchyard::format
