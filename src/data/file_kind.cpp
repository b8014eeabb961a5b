#include "switchyard/data/file_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"

namespace switchyard::data {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kLookedAt = 4096;

struct Magic {
  std::string_view bytes;
  std::size_t offset;
  const char* name;
  const char* command;  // {} = the quoted path
};

constexpr const char* kPandas =
    "python3 -c 'import sys, pandas; pandas.read_parquet(sys.argv[1])[[\"text\"]].to_json("
    "sys.stdout, orient=\"records\", lines=True)' {}";
constexpr const char* kNone = "";

// Only beginnings that no text has. Order matters: the first that fits.
constexpr std::array kMagics = {
    Magic{"\x1F\x8B"sv, 0, "gzip-compressed data", "zcat {}"},
    Magic{"\x28\xB5\x2F\xFD"sv, 0, "Zstandard-compressed data", "zstdcat {}"},
    Magic{"\x37\xA4\x30\xEC"sv, 0, "a Zstandard dictionary", kNone},
    Magic{"\xFD\x37\x7A\x58\x5A\x00"sv, 0, "xz-compressed data", "xzcat {}"},
    Magic{"\x04\x22\x4D\x18"sv, 0, "LZ4-compressed data", "lz4cat {}"},
    Magic{"7z\xBC\xAF\x27\x1C"sv, 0, "a 7-Zip archive", "7z x -so {}"},
    Magic{"Rar!\x1A\x07"sv, 0, "a RAR archive", "unrar p -inul {}"},
    Magic{"ustar"sv, 257, "a tar archive", "tar -xOf {}"},
    Magic{"%PDF-"sv, 0, "a PDF document", "pdftotext {} -"},
    Magic{"{\\rtf"sv, 0, "an RTF document", "pandoc -t plain {}"},
    Magic{"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv, 0, "an old Word, Excel or PowerPoint document",
          "catdoc {}"},
    Magic{"ARROW1"sv, 0, "an Arrow file", kNone},
    Magic{"SQLite format 3\0"sv, 0, "an SQLite database", kNone},
    Magic{"\x93NUMPY"sv, 0, "a NumPy array", kNone},
    Magic{"\x89HDF\r\n\x1A\n"sv, 0, "an HDF5 file", kNone},
    Magic{"Obj\x01"sv, 0, "an Avro file", kNone},
    Magic{"GGUF\x03\0\0\0"sv, 0, "a GGUF model", kNone},
    Magic{"\x80\x02"sv, 0, "a Python pickle", kNone},
    Magic{"\x80\x03"sv, 0, "a Python pickle", kNone},
    Magic{"\x80\x04\x95"sv, 0, "a Python pickle", kNone},
    Magic{"\x80\x05\x95"sv, 0, "a Python pickle", kNone},
    Magic{"\x89PNG\r\n"sv, 0, "a PNG picture", kNone},
    Magic{"\xFF\xD8\xFF"sv, 0, "a JPEG picture", kNone},
    Magic{"\x7F"
          "ELF"sv,
          0, "a program", kNone},
    // Before UTF-16, whose mark is the beginning of this one.
    Magic{"\xFF\xFE\0\0"sv, 0, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 {}"},
    Magic{"\0\0\xFE\xFF"sv, 0, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 {}"},
    Magic{"\xFF\xFE"sv, 0, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 {}"},
    Magic{"\xFE\xFF"sv, 0, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 {}"},
};

// What is compressed may be an archive, which only its name tells.
bool is_named_as_tar(const std::string& path) {
  constexpr std::array kEnds = {".tar.xz"sv, ".txz"sv, ".tar.bz2"sv, ".tbz2"sv};
  return std::any_of(kEnds.begin(), kEnds.end(),
                     [&path](std::string_view end) { return path.ends_with(end); });
}

FileKind made(const char* name, const char* command, const std::string& path) {
  std::string filled = is_named_as_tar(path) ? "tar -xOf {}" : command;
  if (const auto place = filled.find("{}"); place != std::string::npos) {
    filled.replace(place, 2, shell_path(path));
  }
  return {name, filled};
}

// Office documents and e-books are zip files; their first entries tell which.
FileKind kind_of_zip(std::string_view head, const std::string& path) {
  const auto holds = [head](std::string_view text) {
    return head.find(text) != std::string_view::npos;
  };
  if (holds("application/epub+zip")) return made("an EPUB book", "pandoc -t plain {}", path);
  if (holds("opendocument.text")) return made("an OpenDocument text", "pandoc -t plain {}", path);
  if (holds("[Content_Types].xml") || holds("word/")) {
    return made("a Word (docx) or other Office document", "pandoc -f docx -t plain {}", path);
  }
  if (holds("/data.pkl") || holds("/byteorder")) return made("a PyTorch file", kNone, path);
  if (holds(".npy")) return made("an archive of NumPy arrays", kNone, path);
  return made("a zip archive", "unzip -p {}", path);
}

// UTF-16 and UTF-32 without a mark: text in them is full of zero bytes at regular places.
std::optional<FileKind> kind_of_wide_text(std::string_view head, const std::string& path) {
  if (head.size() < 16) return std::nullopt;
  std::array<std::size_t, 4> zeros{};
  for (std::size_t i = 0; i < head.size(); ++i) zeros[i % 4] += head[i] == '\0' ? 1 : 0;
  const std::size_t most = head.size() / 4;
  const auto full = [&](std::size_t place) { return zeros[place] * 10 >= most * 7; };
  const auto bare = [&](std::size_t place) { return zeros[place] * 10 <= most; };
  const auto wide = [&](const char* name) {
    return FileKind{fmt::format("{} text without a mark", name),
                    fmt::format("iconv -f {} -t UTF-8 {}", name, shell_path(path))};
  };
  if (full(1) && full(2) && full(3) && bare(0)) return wide("UTF-32LE");
  if (full(0) && full(1) && full(2) && bare(3)) return wide("UTF-32BE");
  if (full(1) && full(3) && bare(0) && bare(2)) return wide("UTF-16LE");
  if (full(0) && full(2) && bare(1) && bare(3)) return wide("UTF-16BE");
  return std::nullopt;
}

}  // namespace

std::optional<FileKind> foreign_kind(std::string_view bytes, const std::string& path) {
  for (const Magic& magic : kMagics) {
    if (bytes.size() < magic.offset + magic.bytes.size()) continue;
    if (bytes.substr(magic.offset, magic.bytes.size()) != magic.bytes) continue;
    return made(magic.name, magic.command, path);
  }
  const std::string_view head = bytes.substr(0, kLookedAt);
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06")) {
    return kind_of_zip(head, path);
  }
  // These three letters may begin a text as well.
  if (head.starts_with("BZh") && head.substr(4).starts_with("1AY&SY")) {
    return made("bzip2-compressed data", "bzcat {}", path);
  }
  const bool has_nul = head.find('\0') != std::string_view::npos;
  if (head.starts_with("PAR1") && (has_nul || bytes.ends_with("PAR1"))) {
    return made("a Parquet file", kPandas, path);
  }
  return kind_of_wide_text(head, path);
}

bool looks_like_json_lines(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || text[begin] != '{') return false;
  const std::size_t end = std::min(text.find('\n', begin), text.size());
  try {
    return format::parse_json(text.substr(begin, end - begin), "").is_object();
  } catch (const DataError&) {
    return false;
  }
}

bool looks_like_json_document(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos || looks_like_json_lines(text)) return false;
  const std::size_t second = text.find_first_not_of(kSpace, begin + 1);
  if (second == std::string_view::npos) return false;
  const char last = text[text.find_last_not_of(kSpace)];
  // Not "[[": a link of a wiki begins like that, too.
  const bool is_list =
      text[begin] == '[' && last == ']' && (text[second] == '{' || text[second] == '"');
  return is_list || (text[begin] == '{' && last == '}' && text[second] == '"');
}

}  // namespace switchyard::data
