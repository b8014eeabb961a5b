#include "switchyard/data/text_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/core/standard_input.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"
#include "switchyard/data/file_kind.h"

namespace switchyard::data {
namespace {

struct PlainBytes {
  std::string name;  // for messages
  std::string bytes;
  std::optional<format::Compression> compression = {};  // of what they came from
};

// What is in a file, decompressed. Throws DataError for what is no text.
PlainBytes read_plain(const std::string& path, const std::string& reader) {
  PlainBytes result{.name = input_name(path), .bytes = {}};
  if (is_standard_input(path)) {
    log::info("reading standard input");
    read_to_end(STDIN_FILENO, result.name, [&](std::string_view part) { result.bytes += part; });
  } else {
    result.bytes = read_file(path);
  }
  result.compression = readable_compression(result.bytes);
  if (result.compression.has_value()) {
    std::string decompressed;
    format::decompress(result.bytes, *result.compression, result.name,
                       [&](std::string_view part) { decompressed += part; });
    result.bytes = std::move(decompressed);
  }
  refuse_foreign(result.bytes, result.name, reader, result.compression);
  return result;
}

WholeText without_byte_order_mark(std::string bytes) {
  WholeText result{.text = std::move(bytes)};
  result.had_byte_order_mark = result.text.starts_with(kByteOrderMark);
  if (result.had_byte_order_mark) result.text.erase(0, kByteOrderMark.size());
  return result;
}

// What to do about text whose byte number `bad` is not UTF-8: a command from `command`, which
// writes the bytes, to `reader`, where one can be named that does not make garbage of it.
std::string hint_for_invalid_text(std::string_view bytes, std::size_t bad,
                                  const std::string& command, const std::string& reader) {
  if (bytes.find('\0') != std::string_view::npos) {
    return fmt::format(
        "it holds zero bytes too, so it is hardly text; `{} | file -` may know what "
        "it is",
        command);
  }
  // Any text of single bytes can be read as WINDOWS-1252; that gives the text that was meant where
  // letters beyond ASCII stand alone among others, and not where they make up words.
  constexpr std::size_t kLookedAt = std::size_t{1} << 16U;
  std::size_t num_alone = 0;
  std::size_t num_together = 0;
  bool is_after_one = false;
  for (const char c : bytes.substr(bad, kLookedAt)) {
    const bool is_beyond_ascii = static_cast<unsigned char>(c) >= 0x80;
    if (is_beyond_ascii) ++(is_after_one ? num_together : num_alone);
    is_after_one = is_beyond_ascii;
  }
  const bool is_western = num_alone > num_together;
  return fmt::format(
      "if it is {}: {} | iconv -f {} -t UTF-8 | {}{}",
      is_western ? "Latin-1 or Windows text" : "text in an older encoding", command,
      is_western ? "WINDOWS-1252" : "ENCODING", reader,
      is_western ? ""
                 : " (which one: SHIFT_JIS, GB18030, WINDOWS-1251, ...; `iconv -l` lists them)");
}

}  // namespace

std::optional<format::Compression> readable_compression(std::string_view bytes) {
  const auto compression = format::compression_of(bytes);
  if (!compression.has_value() || !format::missing_package(*compression).empty()) return {};
  return compression;
}

std::string command_that_reads(const std::string& name,
                               std::optional<format::Compression> compression) {
  return fmt::format("{} {}", compression ? format::decompressing_command(*compression) : "cat",
                     shell_path(file_of(name)));
}

void refuse_foreign(std::string_view bytes, const std::string& name, const std::string& reader,
                    std::optional<format::Compression> decompressed) {
  std::string plain_path = file_of(name);
  std::string first;
  if (decompressed.has_value()) {
    plain_path = format::uncompressed_name(plain_path);
    if (plain_path == file_of(name)) plain_path += ".plain";
    first = fmt::format("{} > {}, then: ", command_that_reads(name, decompressed),
                        shell_quoted(plain_path));
  }
  const auto kind = foreign_kind(bytes, plain_path);
  if (!kind.has_value()) return;
  std::string hint = kind->command.empty() ? "give text or JSON lines"
                                           : fmt::format("{}{} | {}", first, kind->command, reader);
  if (const auto compression = format::compression_of(bytes)) {
    if (const std::string package = format::missing_package(*compression); !package.empty()) {
      hint += fmt::format(" (built with {}, switchyard reads it as it is)", package);
    }
  }
  throw DataError(
      fmt::format("{}: {}{}, not {}", name, decompressed ? "compressed, and in it " : "",
                  kind->name, kind->name.starts_with("UTF-") ? "UTF-8" : "text"),
      hint);
}

void refuse_invalid_utf8(std::string_view bytes, const std::string& name, const std::string& reader,
                         std::optional<format::Compression> decompressed) {
  const auto bad = first_invalid_utf8(bytes);
  if (!bad.has_value()) return;
  const std::string_view before = bytes.substr(0, *bad);
  throw DataError(
      fmt::format("{}: at byte {} (line {}): 0x{:02X} is not valid UTF-8", name, *bad,
                  1 + std::count(before.begin(), before.end(), '\n'),
                  static_cast<unsigned char>(bytes[*bad])),
      hint_for_invalid_text(bytes, *bad, command_that_reads(name, decompressed), reader));
}

WholeText read_utf8_text(const std::string& path, const std::string& reader) {
  PlainBytes plain = read_plain(path, reader);
  refuse_invalid_utf8(plain.bytes, plain.name, reader, plain.compression);
  return without_byte_order_mark(std::move(plain.bytes));
}

}  // namespace switchyard::data
