// What a file is that somebody takes for text: told from its bytes, whatever it is called.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace switchyard::data {

struct FileKind {
  std::string name;     // "gzip-compressed data", "a PDF document", "UTF-16 text"
  std::string command;  // how to make text of the file: "zcat FILE | switchyard ...", ...
};

// Nothing for what may be UTF-8 text. `bytes` is the whole file or its beginning of at least
// 4096 bytes; `path` is for the command, which reads it and writes text to standard output.
[[nodiscard]] std::optional<FileKind> foreign_kind(std::string_view bytes, const std::string& path);

// Whether the first line that is not blank is a JSON object.
[[nodiscard]] bool looks_like_json_lines(std::string_view text);
// Whether the whole, which is no JSON lines, may be one JSON value over several lines: told from
// its first and last characters.
[[nodiscard]] bool looks_like_json_document(std::string_view text);

}  // namespace switchyard::data
