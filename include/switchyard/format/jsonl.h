// JSON Lines: one JSON object per line. Lines are found without parsing them, and one text field
// is taken from a line without building the rest of the object.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard::format {

// Splits a text into lines at '\n'; neither the '\n' nor a '\r' before it belongs to the line.
// The last line may lack its '\n'.
class LineReader {
 public:
  struct Line {
    std::string_view text;
    std::size_t number = 0;  // from 1
    std::size_t offset = 0;  // of the line's first byte
  };

  // `name` is for errors; the text must outlive the reader.
  LineReader(std::string_view text, std::string name, std::size_t max_line_bytes);

  // The next line, or none at the end. Throws DataError (name, line, offset) when the line is
  // longer than max_line_bytes.
  [[nodiscard]] std::optional<Line> next();

 private:
  std::string_view text_;
  std::string name_;
  std::size_t max_line_bytes_;
  std::size_t offset_ = 0;
  std::size_t number_ = 0;
};

// The string under the top-level key `field` of the JSON object on `line`. Throws DataError
// (name:line:column) for bad JSON, a line that is no object, nesting deeper than kMaxJsonDepth, a
// missing field (the message lists the fields that are there), or a field that is no string.
[[nodiscard]] std::string text_field(const LineReader::Line& line, std::string_view field,
                                     const std::string& name);

}  // namespace switchyard::format
