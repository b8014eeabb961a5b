#include "switchyard/format/indexed_dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "format/little_endian.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::format {
namespace {

constexpr std::string_view kMagic{"MMIDIDX\0\0", 9};
constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 9 + 8 + 1 + 8 + 8;
constexpr std::int64_t kMaxSequenceTokens = std::int64_t{1} << 30;
constexpr const char* kPrepareAgain = "write the files again with `switchyard prepare`";

[[noreturn]] void fail(const std::string& name, std::uint64_t offset, const std::string& what) {
  throw DataError(fmt::format("{}: at byte {}: {}", name, offset, what), kPrepareAgain);
}

}  // namespace

IndexedDataset::IndexedDataset(std::span<const std::byte> index, std::span<const std::byte> data,
                               const std::string& index_name, std::string data_name)
    : data_(data), data_name_(std::move(data_name)) {
  const std::string& name = index_name;
  if (index.size() < kHeaderBytes) {
    fail(name, index.size(), fmt::format("the file ends inside its {}-byte header", kHeaderBytes));
  }
  if (std::memcmp(index.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(name, 0, "not a token index (expected the magic bytes MMIDIDX)");
  }
  if (const auto version = load<std::uint64_t>(index, 9); version != kVersion) {
    fail(name, 9, fmt::format("version {} is not supported (expected {})", version, kVersion));
  }
  const auto code = load<std::uint8_t>(index, 17);
  if (code != static_cast<std::uint8_t>(TokenType::kInt32) &&
      code != static_cast<std::uint8_t>(TokenType::kUint16)) {
    fail(name, 17, fmt::format("token type {} is not supported (4 = int32, 8 = uint16)", code));
  }
  type_ = static_cast<TokenType>(code);
  const auto num_sequences = load<std::uint64_t>(index, 18);
  const auto num_boundaries = load<std::uint64_t>(index, 26);

  // Bounding both counts by the file's size first keeps the products below from overflowing.
  const std::uint64_t body = index.size() - kHeaderBytes;
  if (num_sequences > body / 12) {
    fail(name, 18,
         fmt::format("{} sequences do not fit a file of {}", num_sequences,
                     counted(std::ssize(index), "byte")));
  }
  if (num_boundaries > body / 8 || num_boundaries == 0) {
    fail(name, 26,
         fmt::format("{} document boundaries do not fit a file of {} bytes", num_boundaries,
                     index.size()));
  }
  if (num_sequences * 12 + num_boundaries * 8 != body) {
    fail(name, 18,
         fmt::format("{} sequences and {} boundaries need {} bytes, the file has {}", num_sequences,
                     num_boundaries, kHeaderBytes + num_sequences * 12 + num_boundaries * 8,
                     index.size()));
  }
  const std::size_t length_at = kHeaderBytes;
  const std::size_t pointer_at = length_at + num_sequences * 4;
  const std::size_t boundary_at = pointer_at + num_sequences * 8;
  const std::size_t token_bytes = bytes_per_token(type_);

  std::vector<std::int64_t> sequence_begin(num_sequences + 1);
  std::uint64_t bytes = 0;
  for (std::size_t s = 0; s < num_sequences; ++s) {
    const auto length = load<std::int32_t>(index, length_at + s * 4);
    if (length < 0) {
      fail(name, length_at + s * 4, fmt::format("sequence {} has length {}", s, length));
    }
    const auto pointer = load<std::uint64_t>(index, pointer_at + s * 8);
    if (pointer != bytes) {
      fail(name, pointer_at + s * 8,
           fmt::format("sequence {} begins at byte {}, expected {}", s, pointer, bytes));
    }
    bytes += static_cast<std::uint64_t>(length) * token_bytes;
    if (bytes > data.size()) {
      fail(name, length_at + s * 4,
           fmt::format("sequence {} ends at byte {} of {}, which has only {}", s, bytes, data_name_,
                       counted(std::ssize(data), "byte")));
    }
    sequence_begin[s + 1] = static_cast<std::int64_t>(bytes / token_bytes);
  }
  if (bytes != data.size()) {
    throw DataError(fmt::format("{}: the file has {}, its index {} describes {}", data_name_,
                                counted(std::ssize(data), "byte"), name, bytes),
                    kPrepareAgain);
  }

  document_begin_.resize(num_boundaries);
  std::uint64_t previous = 0;
  for (std::size_t d = 0; d < num_boundaries; ++d) {
    const auto boundary = load<std::uint64_t>(index, boundary_at + d * 8);
    const bool first_wrong = d == 0 && boundary != 0;
    const bool last_wrong = d + 1 == num_boundaries && boundary != num_sequences;
    if (boundary > num_sequences || boundary < previous || first_wrong || last_wrong) {
      fail(name, boundary_at + d * 8,
           fmt::format("document boundary {} is {}; boundaries must rise from 0 to {}", d, boundary,
                       num_sequences));
    }
    previous = boundary;
    document_begin_[d] = sequence_begin[boundary];
  }
  num_sequences_ = static_cast<std::int64_t>(num_sequences);
  num_tokens_ = sequence_begin.back();
}

std::int64_t IndexedDataset::document_begin(std::int64_t document) const {
  SWITCHYARD_CHECK(document >= 0 && document <= num_documents(), "document {} of {}", document,
                   num_documents());
  return document_begin_[static_cast<std::size_t>(document)];
}

std::int64_t IndexedDataset::document_of(std::int64_t position) const {
  SWITCHYARD_CHECK(position >= 0 && position < num_tokens_, "token {} of {}", position,
                   num_tokens_);
  const auto after = std::upper_bound(document_begin_.begin(), document_begin_.end(), position);
  return after - document_begin_.begin() - 1;
}

void IndexedDataset::read(std::int64_t position, std::int64_t vocab_size,
                          std::span<std::int32_t> out) const {
  const auto count = static_cast<std::int64_t>(out.size());
  SWITCHYARD_CHECK(position >= 0 && count <= num_tokens_ && position <= num_tokens_ - count,
                   "tokens [{}, {}) of {}", position, position + count, num_tokens_);
  const std::size_t token_bytes = bytes_per_token(type_);
  const std::size_t begin = static_cast<std::size_t>(position) * token_bytes;
  if (type_ == TokenType::kUint16) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = load<std::uint16_t>(data_, begin + i * token_bytes);
    }
  } else if (!out.empty()) {
    std::memcpy(out.data(), data_.data() + begin, out.size_bytes());
  }
  // As unsigned, a negative id is above every vocabulary.
  std::uint32_t largest = 0;
  for (const std::int32_t token : out) {
    largest = std::max(largest, static_cast<std::uint32_t>(token));
  }
  if (largest < static_cast<std::uint64_t>(vocab_size)) return;
  const auto bad = std::find_if(out.begin(), out.end(), [vocab_size](std::int32_t token) {
    return token < 0 || token >= vocab_size;
  });
  if (bad == out.end()) return;
  const auto at = begin + static_cast<std::size_t>(bad - out.begin()) * token_bytes;
  fail(data_name_, at, fmt::format("token {} is outside the vocabulary of {}", *bad, vocab_size));
}

IndexedDatasetWriter::IndexedDatasetWriter(std::filesystem::path index_path,
                                           const std::filesystem::path& data_path, TokenType type)
    : index_path_(std::move(index_path)), data_(data_path), type_(type) {}

void IndexedDatasetWriter::append(std::span<const std::int32_t> tokens) {
  document_open_ = true;
  const std::int32_t limit = type_ == TokenType::kUint16 ? std::numeric_limits<std::uint16_t>::max()
                                                         : std::numeric_limits<std::int32_t>::max();
  for (const std::int32_t token : tokens) {
    SWITCHYARD_CHECK(token >= 0 && token <= limit, "token {} does not fit the file's type", token);
  }
  while (!tokens.empty()) {
    if (open_tokens_ == kMaxSequenceTokens) end_sequence();
    const auto room = static_cast<std::size_t>(kMaxSequenceTokens - open_tokens_);
    const auto part = tokens.first(std::min(tokens.size(), room));
    if (type_ == TokenType::kInt32) {
      data_.write(std::as_bytes(part));
    } else {
      std::array<std::uint16_t, 4096> narrow{};
      for (std::size_t i = 0; i < part.size(); i += narrow.size()) {
        const auto block = part.subspan(i, std::min(narrow.size(), part.size() - i));
        std::transform(block.begin(), block.end(), narrow.begin(),
                       [](std::int32_t token) { return static_cast<std::uint16_t>(token); });
        data_.write(std::as_bytes(std::span(narrow).first(block.size())));
      }
    }
    open_tokens_ += static_cast<std::int64_t>(part.size());
    num_tokens_ += static_cast<std::int64_t>(part.size());
    tokens = tokens.subspan(part.size());
  }
}

void IndexedDatasetWriter::end_sequence() {
  length_.push_back(static_cast<std::int32_t>(open_tokens_));
  open_tokens_ = 0;
}

void IndexedDatasetWriter::end_document() {
  end_sequence();
  boundary_.push_back(static_cast<std::int64_t>(length_.size()));
  document_open_ = false;
}

void IndexedDatasetWriter::commit() {
  SWITCHYARD_CHECK(!document_open_, "the last document was not closed");
  AtomicFile index(index_path_);
  index.write(kMagic);
  index.write(bytes_of(kVersion));
  index.write(bytes_of(static_cast<std::uint8_t>(type_)));
  index.write(bytes_of(static_cast<std::uint64_t>(length_.size())));
  index.write(bytes_of(static_cast<std::uint64_t>(boundary_.size())));
  index.write(std::as_bytes(std::span(length_)));
  std::int64_t pointer = 0;
  for (const std::int32_t length : length_) {
    index.write(bytes_of(pointer));
    pointer += length * static_cast<std::int64_t>(bytes_per_token(type_));
  }
  index.write(std::as_bytes(std::span(boundary_)));
  // The index last: without it the pair cannot be opened.
  data_.commit();
  index.commit();
}

}  // namespace switchyard::format
