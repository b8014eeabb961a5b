// The inputs of `prepare`: files found, mapped, checked, and cut into documents.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {

struct SourceFile {
  std::string name;  // as it was given; for errors and the sidecar
  MappedFile file;
  std::string_view text;  // without a byte order mark
  bool jsonl = false;
  bool validation = false;  // all of it is validation text
  std::int64_t num_documents = 0;
};

class SourceFiles {
 public:
  // Finds and checks all inputs. What cannot be mapped (standard input, pipes) is copied into
  // `spool_folder` first. Throws UsageError or DataError.
  SourceFiles(const PrepareOptions& options, const std::filesystem::path& spool_folder);

  struct Document {
    std::int64_t index = 0;  // over all files
    std::string_view text;   // never empty
    const SourceFile& source;
  };
  // Every document in order. Throws DataError for a JSONL line that cannot be used.
  void for_each_document(const std::function<void(const Document&)>& visit) const;

  [[nodiscard]] const std::vector<SourceFile>& files() const { return files_; }
  [[nodiscard]] std::int64_t num_documents() const { return num_documents_; }
  [[nodiscard]] std::int64_t num_bytes() const { return num_bytes_; }  // of all documents
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

 private:
  void add_input(const std::string& input, bool validation);
  void add_folder(const std::filesystem::path& folder, bool validation);
  void add_file(const std::string& name, const std::filesystem::path& path, bool validation);
  void check_text(SourceFile& source);

  const PrepareOptions& options_;
  std::filesystem::path spool_folder_;
  std::vector<SourceFile> files_;
  std::vector<std::filesystem::path> canonical_;
  std::int64_t num_documents_ = 0;
  std::int64_t num_bytes_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace switchyard::data
