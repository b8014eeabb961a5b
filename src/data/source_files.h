// The inputs of `prepare`: files found, checked, and cut into documents. However many there are,
// one is open, mapped and decompressed at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "switchyard/core/mapped_file.h"
#include "switchyard/data/prepare.h"
#include "switchyard/format/compressed.h"

namespace switchyard::data {

struct SourceFile {
  std::string name;                 // as it was given; for errors and the sidecar
  std::filesystem::path canonical;  // empty: it was read from a pipe
  std::filesystem::path mapped;     // the file itself, or the copy of what a pipe gave
  std::int64_t bytes = 0;           // of the file, compressed or not
  std::string hash;                 // xxh3 of it
  std::optional<format::Compression> compression;
  bool has_byte_order_mark = false;
  bool jsonl = false;
  bool validation = false;  // all of it is validation text
  std::int64_t num_documents = 0;
  std::int64_t num_skipped = 0;  // records left out (skip_bad_records)
};

class SourceFiles {
 public:
  // Finds and checks all inputs. What cannot be mapped (standard input, pipes) is copied into
  // `spool_folder` first. Throws UsageError or DataError.
  SourceFiles(const PrepareOptions& options, const std::filesystem::path& spool_folder);

  struct Document {
    std::int64_t index = 0;  // over all files
    std::string_view text;   // never empty; valid during the visit
    const SourceFile& source;
  };
  // Every document in order. Throws DataError for a JSONL line that cannot be used, and for a file
  // that has become another one since it was checked: what was visited is then not to be used.
  void for_each_document(const std::function<void(const Document&)>& visit) const;

  [[nodiscard]] const std::vector<SourceFile>& files() const { return files_; }
  [[nodiscard]] std::int64_t num_documents() const { return num_documents_; }
  [[nodiscard]] std::int64_t num_bytes() const { return num_bytes_; }      // of all documents
  [[nodiscard]] std::int64_t num_skipped() const { return num_skipped_; }  // records
  // Where the first record was that was left out, and why; empty when none was.
  [[nodiscard]] const std::string& why_first_skipped() const { return why_first_skipped_; }
  // Sizes of the documents that are not all validation text; these come first.
  [[nodiscard]] const std::vector<float>& document_bytes() const { return document_bytes_; }
  // What a user should know, each kind for a few files and then as a count.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  void add_input(const std::string& input, bool validation);
  void add_folder(const std::filesystem::path& folder, bool validation);
  void take_links_to_other_files(std::vector<std::filesystem::path> links,
                                 std::vector<std::filesystem::path>& paths);
  void leave_out_compressed_copies(std::vector<std::filesystem::path>& paths);
  void add_file(const std::string& name, const std::filesystem::path& path, bool validation);
  // What is in `file`: itself, or what it decompresses to, source.hash being its hash. Throws
  // DataError or StorageError.
  [[nodiscard]] MappedFile decompressed(const SourceFile& source, MappedFile file) const;
  // `bytes`: the whole file, decompressed. Throws DataError for what is no UTF-8 text.
  void check_text(SourceFile& source, std::string_view bytes);
  void note(const std::string& name, const std::string& what);
  void note_what_was_taken_for_what(const SourceFile& source, std::string_view text);

  const PrepareOptions& options_;
  std::filesystem::path spool_folder_;
  std::vector<SourceFile> files_;
  std::unordered_set<std::string> canonical_;
  std::vector<float> document_bytes_;
  std::int64_t num_documents_ = 0;
  std::int64_t num_bytes_ = 0;
  std::int64_t num_separators_ = 0;
  std::int64_t num_skipped_ = 0;
  std::string why_first_skipped_;
  bool has_text_files_ = false;
  struct Note {
    std::vector<std::string> names;  // the first few
    std::size_t count = 0;
  };
  std::vector<std::string> kinds_of_notes_;  // in the order in which they came up
  std::unordered_map<std::string, Note> note_of_kind_;
};

}  // namespace switchyard::data
