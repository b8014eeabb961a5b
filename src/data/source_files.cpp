#include "data/source_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "data/source_documents.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/log.h"
#include "switchyard/core/standard_input.h"
#include "switchyard/core/text.h"
#include "switchyard/data/file_kind.h"
#include "switchyard/data/text_file.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNamesInANote = 3;
constexpr std::array<const char*, 5> kTextExtensions{".txt", ".text", ".md", ".jsonl", ".ndjson"};

// Of the file itself, or of what is compressed in it.
fs::path extension_of(const fs::path& path) {
  return fs::path(format::uncompressed_name(path.string())).extension();
}

bool has_jsonl_name(const fs::path& path) {
  const fs::path extension = extension_of(path);
  return extension == ".jsonl" || extension == ".ndjson";
}

bool has_text_name(const fs::path& path) {
  return std::find(kTextExtensions.begin(), kTextExtensions.end(), extension_of(path)) !=
         kTextExtensions.end();
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Copies what can be read only once.
void spool(const fs::path& from, const fs::path& to) {
  AtomicFile out(to);
  const auto copy = [&out](std::string_view part) { out.write(part); };
  if (is_standard_input(from.native())) {
    read_to_end(STDIN_FILENO, kStandardInput, copy);
  } else {
    read_to_end(from, copy);
  }
  out.commit();
}

[[noreturn]] void throw_changed(const SourceFile& source) {
  throw DataError(fmt::format("{}: changed while it was read", source.name),
                  "prepare again when nothing writes to it");
}

// After reading: a file that is written to in place is another one at any moment.
void refuse_if_changed(const SourceFile& source, const MappedFile& file) {
  if (to_hex(xxh3(file.bytes())) != source.hash) throw_changed(source);
}

std::string_view text_of(const SourceFile& source, const MappedFile& plain) {
  const std::string_view bytes = as_text(plain.bytes());
  return source.has_byte_order_mark ? bytes.substr(kByteOrderMark.size()) : bytes;
}

std::int64_t occurrences(std::string_view text, std::string_view what) {
  std::int64_t count = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos;
       at = text.find(what, at + what.size())) {
    ++count;
  }
  return count;
}

}  // namespace

SourceFiles::SourceFiles(const PrepareOptions& options, const fs::path& spool_folder)
    : options_(options), spool_folder_(spool_folder) {
  for (const std::string& input : options.inputs) add_input(input, false);
  for (const std::string& input : options.validation_inputs) add_input(input, true);
}

void SourceFiles::add_input(const std::string& input, bool validation) {
  if (is_standard_input(input)) {
    log::info("reading standard input");
    add_file(kStandardInput, "-", validation);
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
  std::vector<fs::path> links;
  std::set<std::string> other_extensions;
  std::size_t num_others = 0;
  std::error_code failed;
  auto it = fs::recursive_directory_iterator(folder, failed);
  for (; !failed && it != fs::recursive_directory_iterator(); it.increment(failed)) {
    const bool hidden = it->path().filename().string().starts_with('.');
    std::error_code broken_link;
    if (it->is_directory(broken_link)) {
      if (hidden) it.disable_recursion_pending();
      if (!hidden && it->is_symlink(broken_link)) {
        note(it->path().string(), "left out: a link to a folder; name that folder to take it");
      }
    } else if (!hidden && it->is_regular_file(broken_link)) {
      if (has_text_name(it->path())) {
        (it->is_symlink(broken_link) ? links : paths).push_back(it->path());
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
  take_links_to_other_files(links, paths);
  leave_out_compressed_copies(paths);
  if (paths.empty()) {
    throw UsageError(
        fmt::format("--input: the folder {} holds no .txt, .text, .md, .jsonl or .ndjson file, "
                    "nor one with .gz or .zst behind that{}",
                    folder.string(),
                    num_others == 0 ? "" : fmt::format(" ({} others)", num_others)),
        "give the files themselves, whatever their names end with");
  }
  if (num_others > 0) {
    std::string extensions;
    for (const std::string& extension : other_extensions) {
      extensions += (extensions.empty() ? "" : " ") + (extension.empty() ? "(none)" : extension);
    }
    note(folder.string(), fmt::format("left out {} with other endings: {}",
                                      counted(num_others, "file"), extensions));
  }
  // By bytes, so that the order does not depend on the file system or the locale.
  std::sort(paths.begin(), paths.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  for (const fs::path& path : paths) add_file(path.string(), path, validation);
}

// A link in a folder is another name of a file: one that is taken anyway is not taken twice.
void SourceFiles::take_links_to_other_files(std::vector<fs::path> links,
                                            std::vector<fs::path>& paths) {
  if (links.empty()) return;
  std::unordered_set<std::string> taken = canonical_;
  for (const fs::path& path : paths) taken.insert(fs::canonical(path).string());
  std::sort(links.begin(), links.end());
  for (const fs::path& link : links) {
    if (taken.insert(fs::canonical(link).string()).second) {
      paths.push_back(link);
    } else {
      note(link.string(), "left out: a link to a file that is taken already");
    }
  }
}

// `gzip -k` leaves the file beside its compressed copy.
void SourceFiles::leave_out_compressed_copies(std::vector<fs::path>& paths) {
  std::sort(paths.begin(), paths.end());
  std::unordered_set<std::string> taken;
  for (const fs::path& path : paths) {
    if (format::uncompressed_name(path.string()) == path.string()) taken.insert(path.string());
  }
  std::erase_if(paths, [&](const fs::path& path) {
    const std::string name = path.string();
    const std::string plain = format::uncompressed_name(name);
    if (plain == name || taken.insert(plain).second) return false;
    note(name, "left out: by its name it is a compressed copy of what is taken");
    return true;
  });
}

void SourceFiles::add_file(const std::string& name, const fs::path& path, bool validation) {
  SourceFile source;
  source.name = name;
  source.validation = validation;
  source.mapped = path;
  const bool is_open = is_standard_input(path.native());
  const bool is_file = !is_open && fs::is_regular_file(path);
  if (is_file) source.canonical = fs::canonical(path);
  if ((is_file || is_open) &&
      !canonical_.insert(is_open ? kStandardInput : source.canonical.string()).second) {
    throw UsageError(fmt::format("--input: {} is given twice", name),
                     "text that is in both splits would make the validation loss meaningless");
  }
  if (!is_file) {
    source.mapped = spool_folder_ / fmt::format("spool-{}", files_.size());
    spool(path, source.mapped);
  }
  source.jsonl = options_.format == "jsonl" || (options_.format == "auto" && has_jsonl_name(path));
  MappedFile file(source.mapped);
  source.compression = readable_compression(as_text(file.bytes()));
  source.bytes = static_cast<std::int64_t>(file.bytes().size());
  source.hash = to_hex(xxh3(file.bytes()));
  const MappedFile plain = decompressed(source, std::move(file));
  check_text(source, as_text(plain.bytes()));
  const std::string_view text = text_of(source, plain);
  for_each_document_of(
      source, text, options_,
      [&](std::string_view document) {
        ++source.num_documents;
        num_bytes_ += static_cast<std::int64_t>(document.size());
        if (!validation) document_bytes_.push_back(static_cast<float>(document.size()));
      },
      [&](const DataError& error) {
        ++source.num_skipped;
        if (why_first_skipped_.empty()) why_first_skipped_ = error.what();
      });
  plain.check_whole();
  num_skipped_ += source.num_skipped;
  if (source.num_documents == 0) {
    note(name, source.num_skipped == 0 ? "empty, nothing taken" : "every record was skipped");
  }
  note_what_was_taken_for_what(source, text);
  num_documents_ += source.num_documents;
  files_.push_back(std::move(source));
}

// Into a file, not into memory: a document may be all of it, and documents are handed out as views.
// That file lies beside the output, where there is room for text, and has no name once it is
// mapped. Every pass decompresses again, which costs a fraction of encoding, so that one source at
// a time takes that room.
MappedFile SourceFiles::decompressed(const SourceFile& source, MappedFile file) const {
  if (!source.compression.has_value()) return file;
  const fs::path path = spool_folder_ / "decompressed";
  {
    AppendFile out(path, AppendFile::Mode::kCreateNew);
    format::decompress(as_text(file.bytes()), *source.compression, source.name,
                       [&](std::string_view part) { out.write(part); });
    file.check_whole();
    refuse_if_changed(source, file);
  }
  MappedFile plain(path);
  fs::remove(path);
  return plain;
}

void SourceFiles::check_text(SourceFile& source, std::string_view bytes) {
  constexpr const char* kReader = "switchyard prepare --input - ...";
  refuse_foreign(bytes, source.name, kReader, source.compression);
  // Bad bytes in a record are a bad record.
  const bool is_judged_by_record = source.jsonl && options_.skip_bad_records;
  if (!is_judged_by_record) refuse_invalid_utf8(bytes, source.name, kReader, source.compression);
  source.has_byte_order_mark = bytes.starts_with(kByteOrderMark);
}

void SourceFiles::note(const std::string& name, const std::string& what) {
  Note& noted = note_of_kind_[what];
  if (noted.count == 0) kinds_of_notes_.push_back(what);
  ++noted.count;
  if (noted.names.size() < kMostNamesInANote) noted.names.push_back(name);
}

void SourceFiles::note_what_was_taken_for_what(const SourceFile& source, std::string_view text) {
  if (source.has_byte_order_mark) note(source.name, "dropped the byte order mark");
  if (const auto nuls = std::count(text.begin(), text.end(), '\0'); nuls > 0) {
    note(source.name, fmt::format("{}, kept", counted(nuls, "NUL byte")));
  }
  if (source.jsonl) return;
  has_text_files_ = true;
  if (text.find("\r\n") != std::string_view::npos) {
    note(source.name, "lines end in CRLF, kept as they are");
  }
  if (options_.format == "auto" && looks_like_json_lines(text)) {
    note(source.name,
         fmt::format("JSON lines by the look of it, taken as plain text with braces and all; "
                     "--format jsonl takes the texts under '{}'",
                     options_.text_field));
  }
  if (options_.format == "auto" && looks_like_json_document(text)) {
    note(source.name, fmt::format("a JSON document by the look of it, taken as plain text with "
                                  "braces and all; of a list of objects, {} | jq -c '.[]' | "
                                  "switchyard prepare --input - --format jsonl ... takes the texts",
                                  command_that_reads(source.name, source.compression)));
  }
  if (!options_.document_separator.empty()) {
    num_separators_ += occurrences(text, options_.document_separator);
    return;
  }
  for (const char* separator : {"<|endoftext|>", "<|end_of_text|>", "</s>"}) {
    const auto count = occurrences(text, separator);
    if (count < 2) continue;
    note(source.name, fmt::format("'{0}' {1} times, taken as text; --document-separator '{0}' "
                                  "would cut documents there",
                                  separator, count));
  }
}

std::vector<std::string> SourceFiles::notes() const {
  std::vector<std::string> lines;
  for (const std::string& kind : kinds_of_notes_) {
    const Note& noted = note_of_kind_.at(kind);
    for (const std::string& name : noted.names) lines.push_back(name + ": " + kind);
    if (noted.count > noted.names.size()) {
      lines.push_back(fmt::format("{} more files: {}", noted.count - noted.names.size(), kind));
    }
  }
  if (has_text_files_ && !options_.document_separator.empty() && num_separators_ == 0) {
    lines.push_back(
        fmt::format("the document separator '{}' is nowhere in the text: every file is "
                    "one document",
                    options_.document_separator));
  }
  return lines;
}

void SourceFiles::for_each_document(const std::function<void(const Document&)>& visit) const {
  std::int64_t index = 0;
  for (const SourceFile& source : files_) {
    MappedFile file(source.mapped);
    if (static_cast<std::int64_t>(file.bytes().size()) != source.bytes) throw_changed(source);
    const MappedFile plain = decompressed(source, std::move(file));
    // A copy is nobody else's; what is decompressed was checked then.
    const bool is_copy = source.mapped.parent_path() == spool_folder_;
    const auto check_unchanged = [&] {
      if (!source.compression.has_value() && !is_copy) refuse_if_changed(source, plain);
    };
    const std::int64_t end = index + source.num_documents;
    try {
      for_each_document_of(
          source, text_of(source, plain), options_,
          [&](std::string_view text) {
            if (index == end) throw_changed(source);  // the split knows no further document
            visit({index, text, source});
            ++index;
          },
          [](const DataError&) {});
    } catch (const DataError&) {
      check_unchanged();  // why records are bad that were good
      throw;
    }
    plain.check_whole();
    check_unchanged();
    if (index != end) throw_changed(source);
  }
}

}  // namespace switchyard::data
