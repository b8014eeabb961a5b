#include "switchyard/format/indexed_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "support/damage.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::format {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Documents = std::vector<std::vector<std::int32_t>>;

struct Pair {
  std::string index;
  std::string data;

  [[nodiscard]] IndexedDataset open() const {
    return {std::as_bytes(std::span(index)), std::as_bytes(std::span(data)), "t.idx", "t.bin"};
  }
};

Pair write(const Documents& documents, TokenType type) {
  const testing::TemporaryFolder folder;
  IndexedDatasetWriter writer(folder / "t.idx", folder / "t.bin", type);
  for (const auto& document : documents) {
    const std::size_t half = document.size() / 2;  // in two parts, as a stream comes
    writer.append(std::span(document).first(half));
    writer.append(std::span(document).subspan(half));
    writer.end_document();
  }
  writer.commit();
  return {read_file(folder / "t.idx"), read_file(folder / "t.bin")};
}

std::vector<std::int32_t> read_all(const IndexedDataset& dataset, std::int64_t vocab_size) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  dataset.read(0, vocab_size, tokens);
  return tokens;
}

template <typename T>
std::string patched(std::string bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
  return bytes;
}

const Documents kDocuments{{5, 1, 65535}, {}, {2}, {7, 8, 9, 10}};

TEST(IndexedDataset, BothTokenTypesAreReadBackWithTheirDocuments) {
  for (const TokenType type : {TokenType::kUint16, TokenType::kInt32}) {
    const Pair pair = write(kDocuments, type);
    const IndexedDataset dataset = pair.open();
    EXPECT_EQ(dataset.token_type(), type);
    EXPECT_EQ(dataset.num_documents(), 4);
    EXPECT_EQ(dataset.num_sequences(), 4);
    EXPECT_THAT(read_all(dataset, 65536), ElementsAre(5, 1, 65535, 2, 7, 8, 9, 10));
    const std::int64_t begins[] = {0, 3, 3, 4, 8};
    for (std::int64_t d = 0; d <= 4; ++d) EXPECT_EQ(dataset.document_begin(d), begins[d]);
    const std::int64_t documents[] = {0, 0, 0, 2, 3, 3, 3, 3};
    for (std::int64_t t = 0; t < 8; ++t) EXPECT_EQ(dataset.document_of(t), documents[t]);
  }
}

TEST(IndexedDataset, TheIndexHasMegatronsLayoutByteForByte) {
  const Pair pair = write({{1, 2}, {3}}, TokenType::kUint16);
  const auto little = [](auto value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  EXPECT_EQ(pair.index,
            std::string("MMIDIDX\0\0", 9) + little(std::uint64_t{1}) + '\x08' +
                little(std::uint64_t{2}) + little(std::uint64_t{3}) + little(std::int32_t{2}) +
                little(std::int32_t{1}) + little(std::int64_t{0}) + little(std::int64_t{4}) +
                little(std::int64_t{0}) + little(std::int64_t{1}) + little(std::int64_t{2}));
  EXPECT_EQ(pair.data, std::string("\x01\0\x02\0\x03\0", 6));
}

TEST(IndexedDataset, AnEmptyFileOfNoDocumentsIsValid) {
  const Pair pair = write({}, TokenType::kUint16);
  EXPECT_EQ(pair.open().num_tokens(), 0);
  EXPECT_EQ(pair.open().num_documents(), 0);
}

TEST(IndexedDataset, ManyTokensPassThroughTheNarrowingBuffer) {
  std::vector<std::int32_t> tokens(20001);
  std::iota(tokens.begin(), tokens.end(), 0);
  const Pair pair = write({tokens}, TokenType::kUint16);
  EXPECT_EQ(read_all(pair.open(), 65536), tokens);
}

TEST(IndexedDataset, ATokenOutsideTheVocabularyIsRefusedWithItsPlace) {
  const Pair pair = write(kDocuments, TokenType::kUint16);
  EXPECT_THAT([&] { (void)read_all(pair.open(), 65535); },
              ThrowsMessage<DataError>(
                  AllOf(HasSubstr("t.bin"), HasSubstr("at byte 4"), HasSubstr("token 65535"))));
  Pair wide = write(kDocuments, TokenType::kInt32);
  wide.data = patched(wide.data, 12, std::int32_t{-1});
  EXPECT_THAT([&] { (void)read_all(wide.open(), 1 << 30); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("at byte 12"), HasSubstr("token -1"))));
}

TEST(IndexedDataset, EveryWrongFieldIsNamedByItsOffset) {
  const Pair good = write(kDocuments, TokenType::kUint16);
  const auto expect_refused = [&](const std::string& index, const std::string& message) {
    EXPECT_THAT(
        [&] {
          (void)Pair({index, good.data}).open();
        },
        ThrowsMessage<DataError>(AllOf(HasSubstr("t.idx"), HasSubstr(message))));
  };
  expect_refused(patched(good.index, 0, 'm'), "at byte 0: not a token index");
  expect_refused(patched(good.index, 9, std::uint64_t{2}), "at byte 9: version 2");
  expect_refused(patched(good.index, 17, std::uint8_t{6}), "at byte 17: token type 6");
  expect_refused(patched(good.index, 18, std::uint64_t{1} << 62), "at byte 18");
  expect_refused(patched(good.index, 26, std::uint64_t{1} << 62), "at byte 26");
  expect_refused(patched(good.index, 26, std::uint64_t{0}), "at byte 26");
  expect_refused(patched(good.index, 34, std::int32_t{-3}), "at byte 34: sequence 0 has length -3");
  expect_refused(patched(good.index, 34, INT32_MAX), "has only 16 bytes");
  expect_refused(patched(good.index, 50, std::int64_t{2}), "sequence 0 begins at byte 2");
  expect_refused(patched(good.index, 82, std::int64_t{1}), "document boundary 0 is 1");
  expect_refused(patched(good.index, 90, std::int64_t{4}), "document boundary 2 is 2");
  expect_refused(patched(good.index, 90, std::int64_t{-1}), "document boundary 1");
  expect_refused(patched(good.index, 114, std::int64_t{3}), "document boundary 4 is 3");
}

TEST(IndexedDataset, ABinOfTheWrongSizeIsRefused) {
  const Pair good = write(kDocuments, TokenType::kUint16);
  EXPECT_THAT(
      [&] {
        (void)Pair({good.index, good.data.substr(0, 15)}).open();
      },
      ThrowsMessage<DataError>(HasSubstr("t.bin, which has only 15 bytes")));
  EXPECT_THAT(
      [&] {
        (void)Pair({good.index, good.data + "x"}).open();
      },
      ThrowsMessage<DataError>(HasSubstr("the file has 17 bytes")));
}

TEST(IndexedDataset, DamagedIndicesAreRefusedOrReadButNeverCrash) {
  const Pair good = write(kDocuments, TokenType::kInt32);
  const testing::Reader read = [&good](std::span<const std::byte> index) {
    const IndexedDataset dataset(index, std::as_bytes(std::span(good.data)), "t.idx", "t.bin");
    (void)read_all(dataset, 65536);
    for (std::int64_t t = 0; t < dataset.num_tokens(); ++t) (void)dataset.document_of(t);
  };
  const auto cut = testing::read_every_truncation(good.index, read);
  EXPECT_EQ(cut.refused, cut.tried);
  EXPECT_GT(testing::read_byte_flips(good.index, read).refused, 100U);
}

TEST(IndexedDatasetWriter, NothingAppearsBeforeCommit) {
  const testing::TemporaryFolder folder;
  {
    IndexedDatasetWriter writer(folder / "t.idx", folder / "t.bin", TokenType::kUint16);
    writer.append(std::vector<std::int32_t>{1, 2});
    writer.end_document();
    EXPECT_EQ(writer.num_tokens(), 2);
    EXPECT_FALSE(std::filesystem::exists(folder / "t.bin"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(IndexedDatasetWriter, ATokenThatDoesNotFitTheTypeIsRefused) {
  const testing::TemporaryFolder folder;
  IndexedDatasetWriter writer(folder / "t.idx", folder / "t.bin", TokenType::kUint16);
  EXPECT_THROW(writer.append(std::vector<std::int32_t>{65536}), InternalError);
  EXPECT_THROW(writer.append(std::vector<std::int32_t>{-1}), InternalError);
  EXPECT_EQ(token_type_for(65536), TokenType::kUint16);
  EXPECT_EQ(token_type_for(65537), TokenType::kInt32);
}

}  // namespace
}  // namespace switchyard::format
