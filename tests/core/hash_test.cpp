#include "switchyard/core/hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard {
namespace {

TEST(Hash, MatchesTheKnownAnswerForNoBytes) {
  // XXH3_64bits("") with seed 0, from the xxHash specification.
  EXPECT_EQ(to_hex(xxh3(std::string_view())), "2d06800538d394c2");
}

TEST(Hash, TextAndBytesAgreeAndTheSeedMatters) {
  const std::string text = "switchyard";
  EXPECT_EQ(xxh3(text), xxh3(std::as_bytes(std::span(text))));
  EXPECT_NE(xxh3(text), xxh3(text, 1));
}

TEST(Hash, HexKeepsLeadingZeros) {
  EXPECT_EQ(to_hex(0xabc), "0000000000000abc");
}

TEST(Hash, StreamedFileEqualsItsBytes) {
  const std::string path = testing::TempDir() + "switchyard_hash";
  std::string bytes(3'000'001, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 % 251);
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(xxh3_of_file(path), to_hex(xxh3(bytes)));
}

TEST(Hash, BytesInPiecesHashAsTheWholeHoweverTheyAreCut) {
  std::string text(10'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 % 253);
  const auto bytes = std::as_bytes(std::span(text));
  for (const std::size_t piece : {std::size_t{1}, std::size_t{241}, std::size_t{4096}}) {
    Xxh3Stream stream;
    for (std::size_t done = 0; done < bytes.size(); done += piece) {
      stream.update(bytes.subspan(done, std::min(piece, bytes.size() - done)));
      stream.update({});
    }
    EXPECT_EQ(stream.digest(), xxh3(text)) << piece;
  }
  EXPECT_EQ(Xxh3Stream().digest(), xxh3(std::string_view()));
}

TEST(Hash, MissingFileAndFolderAreStorageErrors) {
  EXPECT_THROW((void)xxh3_of_file("/nonexistent/file"), StorageError);
  EXPECT_THROW((void)xxh3_of_file(testing::TempDir()), StorageError);
}

}  // namespace
}  // namespace switchyard
