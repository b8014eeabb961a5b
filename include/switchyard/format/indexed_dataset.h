// Token files in Megatron's layout: NAME.bin holds the tokens of all sequences one after the
// other, NAME.idx says where each begins.
//
//   .idx: "MMIDIDX\0\0" | u64 version = 1 | u8 token type | u64 sequences S | u64 boundaries D
//         | i32 length[S] in tokens | i64 pointer[S] in bytes into .bin
//         | i64 boundary[D]: sequence indices; document d = sequences [boundary[d], boundary[d+1])
//
// Everything is little-endian. Here a document is one sequence (more only above 2^30 tokens).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "switchyard/core/file.h"

namespace switchyard::format {

// Megatron's codes of the two token types that we read and write.
enum class TokenType : std::uint8_t { kInt32 = 4, kUint16 = 8 };

[[nodiscard]] constexpr std::size_t bytes_per_token(TokenType type) {
  return type == TokenType::kUint16 ? 2 : 4;
}
// uint16 while every id fits.
[[nodiscard]] constexpr TokenType token_type_for(std::int64_t vocab_size) {
  return vocab_size <= 65536 ? TokenType::kUint16 : TokenType::kInt32;
}

// A view of one .idx/.bin pair. Opening checks the whole index against the size of the .bin, so
// that reading cannot leave the spans.
class IndexedDataset {
 public:
  // The spans must outlive the view; the names are for errors. Throws DataError naming the file
  // and the byte offset of whatever does not hold.
  IndexedDataset(std::span<const std::byte> index, std::span<const std::byte> data,
                 const std::string& index_name, std::string data_name);

  [[nodiscard]] TokenType token_type() const noexcept { return type_; }
  [[nodiscard]] std::int64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] std::int64_t num_sequences() const noexcept { return num_sequences_; }
  [[nodiscard]] std::int64_t num_documents() const noexcept {
    return static_cast<std::int64_t>(document_begin_.size()) - 1;
  }

  // Position (in tokens, over all documents) where `document` begins; num_tokens() for
  // document == num_documents().
  [[nodiscard]] std::int64_t document_begin(std::int64_t document) const;
  // The document that holds token `position` (empty documents hold none).
  [[nodiscard]] std::int64_t document_of(std::int64_t position) const;

  // Copies tokens [position, position + out.size()). Throws DataError naming the .bin and the
  // byte offset of a token outside [0, vocab_size).
  void read(std::int64_t position, std::int64_t vocab_size, std::span<std::int32_t> out) const;

 private:
  std::span<const std::byte> data_;
  std::string data_name_;
  TokenType type_ = TokenType::kUint16;
  std::int64_t num_tokens_ = 0;
  std::int64_t num_sequences_ = 0;
  std::vector<std::int64_t> document_begin_;  // [documents + 1], in tokens
};

// Streams documents into a pair; both files appear only on commit().
class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(std::filesystem::path index_path, const std::filesystem::path& data_path,
                       TokenType type);

  // Appends tokens to the open document. Every id must fit the token type.
  void append(std::span<const std::int32_t> tokens);
  // Closes the open document (which may be empty); the next append() opens another.
  void end_document();
  // Writes both files. Every document must be closed. Throws StorageError.
  void commit();

  [[nodiscard]] std::int64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] std::int64_t num_documents() const noexcept {
    return static_cast<std::int64_t>(boundary_.size()) - 1;
  }

 private:
  void end_sequence();

  std::filesystem::path index_path_;
  AtomicFile data_;
  TokenType type_;
  std::int64_t num_tokens_ = 0;
  std::int64_t open_tokens_ = 0;  // of the open sequence
  bool document_open_ = false;
  std::vector<std::int32_t> length_;
  std::vector<std::int64_t> boundary_{0};
};

}  // namespace switchyard::format
