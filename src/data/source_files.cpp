#include "data/source_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/format/jsonl.h"
#include "switchyard/format/utf8.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kMaxJsonLineBytes = std::size_t{1} << 30;
constexpr std::array<const char*, 5> kTextExtensions{".txt", ".text", ".md", ".jsonl", ".ndjson"};

bool has_jsonl_name(const fs::path& path) {
  return path.extension() == ".jsonl" || path.extension() == ".ndjson";
}

bool has_text_name(const fs::path& path) {
  return std::find(kTextExtensions.begin(), kTextExtensions.end(), path.extension()) !=
         kTextExtensions.end();
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Copies what can be read only once.
void spool(const fs::path& from, const fs::path& to) {
  std::ifstream in(from, std::ios::binary);
  if (!in) throw StorageError(fmt::format("cannot read {}", from.string()));
  AtomicFile out(to);
  std::array<char, 1 << 16> buffer{};
  while (in.read(buffer.data(), buffer.size()) || in.gcount() > 0) {
    out.write(std::string_view(buffer.data(), static_cast<std::size_t>(in.gcount())));
  }
  if (in.bad()) throw StorageError(fmt::format("cannot read {}", from.string()));
  out.commit();
}

// Calls visit(document) for the parts of a text file; empty parts are no documents.
void for_each_part(std::string_view text, const std::string& separator,
                   const std::function<void(std::string_view)>& visit) {
  while (!text.empty()) {
    const std::size_t at = separator.empty() ? std::string_view::npos : text.find(separator);
    const std::string_view part = text.substr(0, at);
    if (!part.empty()) visit(part);
    if (at == std::string_view::npos) return;
    text.remove_prefix(at + separator.size());
    if (text.starts_with("\r\n")) {
      text.remove_prefix(2);
    } else if (text.starts_with('\n')) {
      text.remove_prefix(1);
    }
  }
}

void for_each_document_of(const SourceFile& source, const PrepareOptions& options,
                          const std::function<void(std::string_view)>& visit) {
  if (!source.jsonl) {
    for_each_part(source.text, options.document_separator, visit);
    return;
  }
  format::LineReader lines(source.text, source.name, kMaxJsonLineBytes);
  while (const auto line = lines.next()) {
    if (line->text.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string text = format::text_field(*line, options.text_field, source.name);
    if (!text.empty()) visit(text);
  }
}

}  // namespace

SourceFiles::SourceFiles(const PrepareOptions& options, const fs::path& spool_folder)
    : options_(options), spool_folder_(spool_folder) {
  for (const std::string& input : options.inputs) add_input(input, false);
  for (const std::string& input : options.validation_inputs) add_input(input, true);
}

void SourceFiles::add_input(const std::string& input, bool validation) {
  if (input == "-") {
    add_file("standard input", "/dev/stdin", validation);
    return;
  }
  std::error_code error;
  const fs::file_status status = fs::status(input, error);
  if (!fs::exists(status)) {
    throw UsageError(fmt::format("--input: {} does not exist", input));
  }
  if (fs::is_directory(status)) {
    add_folder(input, validation);
  } else {
    add_file(input, input, validation);
  }
}

void SourceFiles::add_folder(const fs::path& folder, bool validation) {
  std::vector<fs::path> paths;
  std::set<std::string> other_extensions;
  std::size_t num_others = 0;
  std::error_code failed;
  auto it = fs::recursive_directory_iterator(folder, failed);
  for (; !failed && it != fs::recursive_directory_iterator(); it.increment(failed)) {
    const bool hidden = it->path().filename().string().starts_with('.');
    std::error_code broken_link;
    if (it->is_directory(broken_link)) {
      if (hidden) it.disable_recursion_pending();
    } else if (!hidden && it->is_regular_file(broken_link)) {
      if (has_text_name(it->path())) {
        paths.push_back(it->path());
      } else {
        ++num_others;
        if (other_extensions.size() < 8) other_extensions.insert(it->path().extension().string());
      }
    }
  }
  if (failed) {
    throw StorageError(
        fmt::format("cannot read the folder {}: {}", folder.string(), failed.message()));
  }
  if (paths.empty()) {
    throw UsageError(
        fmt::format("--input: the folder {} holds no .txt, .text, .md, .jsonl or .ndjson file{}",
                    folder.string(),
                    num_others == 0 ? "" : fmt::format(" ({} others)", num_others)),
        "give the files themselves, whatever their names end with");
  }
  if (num_others > 0) {
    std::string extensions;
    for (const std::string& extension : other_extensions) {
      extensions += (extensions.empty() ? "" : " ") + (extension.empty() ? "(none)" : extension);
    }
    notes_.push_back(fmt::format("{}: left out {} files with other endings: {}", folder.string(),
                                 num_others, extensions));
  }
  // By bytes, so that the order does not depend on the file system or the locale.
  std::sort(paths.begin(), paths.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  for (const fs::path& path : paths) add_file(path.string(), path, validation);
}

void SourceFiles::add_file(const std::string& name, const fs::path& path, bool validation) {
  SourceFile source;
  source.name = name;
  source.validation = validation;
  fs::path mapped = path;
  if (fs::is_regular_file(path) && path != "/dev/stdin") {
    const fs::path canonical = fs::canonical(path);
    if (std::find(canonical_.begin(), canonical_.end(), canonical) != canonical_.end()) {
      throw UsageError(fmt::format("--input: {} is given twice", name),
                       "text that is in both splits would make the validation loss meaningless");
    }
    canonical_.push_back(canonical);
  } else {
    mapped = spool_folder_ / fmt::format("spool-{}", files_.size());
    spool(path, mapped);
  }
  source.file = MappedFile(mapped);
  source.jsonl = options_.format == "jsonl" || (options_.format == "auto" && has_jsonl_name(path));
  check_text(source);
  for_each_document_of(source, options_, [&](std::string_view text) {
    ++source.num_documents;
    num_bytes_ += static_cast<std::int64_t>(text.size());
  });
  if (source.num_documents == 0) notes_.push_back(fmt::format("{}: empty, nothing taken", name));
  num_documents_ += source.num_documents;
  files_.push_back(std::move(source));
}

void SourceFiles::check_text(SourceFile& source) {
  source.text = as_text(source.file.bytes());
  if (const auto bad = format::first_invalid_utf8(source.text)) {
    const std::string_view before = source.text.substr(0, *bad);
    const bool utf16 = source.text.starts_with("\xFF\xFE") || source.text.starts_with("\xFE\xFF");
    throw DataError(
        fmt::format("{}: at byte {} (line {}): 0x{:02X} is not valid UTF-8", source.name, *bad,
                    1 + std::count(before.begin(), before.end(), '\n'),
                    static_cast<unsigned char>(source.text[*bad])),
        fmt::format("convert it: iconv -f {} -t UTF-8 IN > OUT", utf16 ? "UTF-16" : "LATIN1"));
  }
  if (source.text.starts_with(kByteOrderMark)) {
    source.text.remove_prefix(kByteOrderMark.size());
    notes_.push_back(fmt::format("{}: dropped the byte order mark", source.name));
  }
  if (!source.jsonl && source.text.find("\r\n") != std::string_view::npos) {
    notes_.push_back(fmt::format("{}: lines end in CRLF, kept as they are", source.name));
  }
  if (const auto nuls = std::count(source.text.begin(), source.text.end(), '\0'); nuls > 0) {
    notes_.push_back(fmt::format("{}: {} NUL bytes, kept as they are", source.name, nuls));
  }
}

void SourceFiles::for_each_document(const std::function<void(const Document&)>& visit) const {
  std::int64_t index = 0;
  for (const SourceFile& source : files_) {
    for_each_document_of(source, options_, [&](std::string_view text) {
      visit({index, text, source});
      ++index;
    });
  }
}

}  // namespace switchyard::data
