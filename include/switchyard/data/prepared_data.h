// The folder that `switchyard prepare` writes: {train,validation}.{bin,idx}, the tokenizer, and
// data.json, which describes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "switchyard/config/folders.h"
#include "switchyard/core/mapped_file.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/format/indexed_dataset.h"

namespace switchyard::data {

enum class Split { kTrain, kValidation };
[[nodiscard]] const char* split_name(Split split);  // "train", "validation"

struct SplitCounts {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;  // separators included
  std::int64_t bytes = 0;   // of text
  std::string hash;         // xxh3 of the .bin file
};

struct SourceRecord {
  std::string path;  // as it was given
  std::int64_t bytes = 0;
  std::string hash;  // xxh3
  std::int64_t documents = 0;
  bool validation = false;   // given as validation text
  std::int64_t skipped = 0;  // records left out as bad
};

// data.json.
struct Sidecar {
  std::string tokenizer_file;
  std::string tokenizer_hash;
  std::string tokenizer_kind;
  std::int64_t vocab_size = 0;
  std::optional<std::int32_t> separator_id;
  bool lossless = false;  // every document was decoded again and was the same
  std::string split;      // document | tail
  double validation_share = 0.0;
  std::uint64_t seed = 0;
  SplitCounts train;
  SplitCounts validation;
  std::vector<SourceRecord> sources;

  [[nodiscard]] const SplitCounts& counts(Split which) const {
    return which == Split::kTrain ? train : validation;
  }
};

// What the front program looks for before the engine starts.
inline constexpr const char* kSidecarName = config::kPreparedDataName;

[[nodiscard]] std::string write_sidecar(const Sidecar& sidecar);
// Throws DataError naming `name` and the key.
[[nodiscard]] Sidecar parse_sidecar(const std::string& text, const std::string& name);

// An opened folder; the token files are memory-mapped.
class PreparedData {
 public:
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] const Sidecar& sidecar() const { return sidecar_; }
  [[nodiscard]] const Tokenizer& tokenizer() const { return tokenizer_; }
  [[nodiscard]] const format::IndexedDataset& dataset(Split split) const {
    return tokens(split).dataset;
  }
  // As dataset(split).read(), with the vocabulary of the tokenizer. Throws DataError, also where
  // the file became shorter since it was opened.
  void read(Split split, std::int64_t position, std::span<std::int32_t> out) const;

 private:
  friend PreparedData open_prepared(const std::filesystem::path& folder);
  struct Tokens {
    MappedFile index;
    MappedFile data;
    format::IndexedDataset dataset;
  };
  [[nodiscard]] const Tokens& tokens(Split split) const {
    return split == Split::kTrain ? train_ : validation_;
  }
  static PreparedData open_once(const std::filesystem::path& folder);
  static Tokens open_tokens(const std::filesystem::path& folder, Split split);
  PreparedData(std::filesystem::path folder, Sidecar sidecar, Tokenizer tokenizer, Tokens train,
               Tokens validation);

  std::filesystem::path folder_;
  Sidecar sidecar_;
  Tokenizer tokenizer_;
  Tokens train_;
  Tokens validation_;
};

// All of one data set, the old one or the new one, when `prepare` replaces it meanwhile. Throws
// DataError naming the file when one is missing, broken or not the one that data.json describes.
[[nodiscard]] PreparedData open_prepared(const std::filesystem::path& folder);

}  // namespace switchyard::data
