// How every command reads files of text: compressed or not, with a byte order mark or without.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "switchyard/format/compressed.h"

namespace switchyard::data {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What `bytes`, the whole file, have to be decompressed with before they are text; nothing when
// they are no compressed data or this program was built without the library.
[[nodiscard]] std::optional<format::Compression> readable_compression(std::string_view bytes);

// Throws DataError for what is no text (file_kind.h), naming the command that makes text of it and
// gives it to `reader` ("switchyard prepare --input - ..."). `decompressed`: from what `bytes`
// came.
void refuse_foreign(std::string_view bytes, const std::string& name, const std::string& reader,
                    std::optional<format::Compression> decompressed);

// "cat a.txt", "zcat a.txt.gz": a command, for messages, that writes what is in the file to
// standard output; `compression` is what readable_compression() said.
[[nodiscard]] std::string command_that_reads(const std::string& name,
                                             std::optional<format::Compression> compression);

// Throws DataError for `bytes` that are not UTF-8, with the place of the first that is not and what
// to do about it. The arguments are those of refuse_foreign(), which comes first.
void refuse_invalid_utf8(std::string_view bytes, const std::string& name, const std::string& reader,
                         std::optional<format::Compression> decompressed);

struct WholeText {
  std::string text;  // decompressed, without a byte order mark
  bool had_byte_order_mark = false;
};

// The text in `path`, or of standard input for "-": what `prepare` would take. Throws StorageError,
// or DataError as above, for what is not UTF-8 and when compressed data is damaged.
[[nodiscard]] WholeText read_utf8_text(const std::string& path, const std::string& reader);

}  // namespace switchyard::data
