#include "switchyard/format/compressed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "support/compressed.h"
#include "support/damage.h"
#include "switchyard/core/error.h"

namespace switchyard::format {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using testing::gzip_member;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using testing::zstandard_bomb;
using testing::zstandard_frame;
using testing::zstandard_head;

std::string text_of(std::string_view bytes) {
  const auto compression = compression_of(bytes);
  if (!compression.has_value()) throw DataError("not compressed");
  std::string text;
  decompress(bytes, *compression, "x.gz", [&text](std::string_view part) { text += part; });
  return text;
}

std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 400000; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

// What `gzip -n9` and `zstd -19` make of "hello hello hello hello\n".
const std::string kGzipped =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\xb9\x00\x00\x88"
    "\x59\x0b\x18\x00\x00\x00"s;
const std::string kZstandard =
    "\x28\xb5\x2f\xfd\x20\x18\x6d\x00\x00\x38\x68\x65\x6c\x6c\x6f\x20\x0a\x01\x00\x99\x4b\x11"s;

// Of libraries that the build was without the tests are skipped, aloud.
class Decompress : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const Compression each : {Compression::kGzip, Compression::kZstandard}) {
      if (!missing_package(each).empty()) GTEST_SKIP() << "built without " << missing_package(each);
    }
  }
};

TEST(Compressed, IsToldFromTheBytes) {
  EXPECT_EQ(compression_of("\x1F\x8B\x08"), Compression::kGzip);
  EXPECT_EQ(compression_of("\x28\xB5\x2F\xFD"), Compression::kZstandard);
  EXPECT_EQ(compression_of("\x5A\x2A\x4D\x18 a frame that is skipped"), Compression::kZstandard);
  for (const std::string& other : {""s, "\x1F"s, "text"s, "\x28\xB5\x2F"s, "Z*M text"s}) {
    EXPECT_FALSE(compression_of(other).has_value()) << other;
  }
  EXPECT_EQ(uncompressed_name("a/b.jsonl.gz"), "a/b.jsonl");
  EXPECT_EQ(uncompressed_name("b.txt.zst"), "b.txt");
  EXPECT_EQ(uncompressed_name("b.txt"), "b.txt");
  EXPECT_EQ(uncompressed_name(".gz"), ".gz");
}

TEST_F(Decompress, WhatTheUsualProgramsWriteComesBack) {
  EXPECT_EQ(text_of(kGzipped), "hello hello hello hello\n");
  EXPECT_EQ(text_of(kZstandard), "hello hello hello hello\n");
}

TEST_F(Decompress, AllMembersAndFramesAreOneText) {
  const std::string text = long_text();
  for (const auto& pack : {&gzip_member, &zstandard_frame}) {
    EXPECT_EQ(text_of(pack("")), "");
    EXPECT_TRUE(text_of(pack(text)) == text);
    EXPECT_TRUE(text_of(pack(text) + pack("") + pack("end")) == text + "end");
  }
  // As tapes pad them, and as pzstd begins.
  EXPECT_EQ(text_of(gzip_member("a") + std::string(1000, '\0')), "a");
  EXPECT_EQ(text_of("\x50\x2A\x4D\x18\x02\0\0\0xx"s + zstandard_frame("b")), "b");
}

TEST_F(Decompress, PartsAreSmallHoweverMuchComesOut) {
  constexpr std::size_t kNumBlocks = 4096;  // 512 MiB
  std::size_t largest = 0;
  std::size_t total = 0;
  const std::string bomb = zstandard_bomb('a', kNumBlocks);
  decompress(bomb, Compression::kZstandard, "bomb.zst", [&](std::string_view part) {
    largest = std::max(largest, part.size());
    total += part.size();
  });
  EXPECT_EQ(total, kNumBlocks * testing::kZstandardBlock);
  EXPECT_LE(largest, std::size_t{1} << 18);
}

TEST_F(Decompress, CutOffAnywhereIsRefused) {
  const testing::Reader read = [](std::span<const std::byte> bytes) {
    (void)text_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  for (const std::string& whole :
       {gzip_member("some text of a few words"), zstandard_frame("some text of a few words")}) {
    const auto count = testing::read_every_truncation(whole, read);
    EXPECT_EQ(count.refused, count.tried);
  }
  EXPECT_THAT([] { (void)text_of(gzip_member("text").substr(0, 16)); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("x.gz: cut off"), HasSubstr("(16)"))));
}

TEST_F(Decompress, DamageIsRefused) {
  const testing::Reader read = [](std::span<const std::byte> bytes) {
    (void)text_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  // The checksum sees what changed in the text; some bytes of the header mean nothing.
  EXPECT_GT(testing::read_byte_flips(gzip_member("some text of a few words"), read).refused, 200U);
  EXPECT_GT(testing::read_byte_flips(zstandard_frame("some text"), read).refused, 30U);
  std::string damaged = gzip_member("some text");
  damaged[18] = 'X';
  EXPECT_THAT([&] { (void)text_of(damaged); },
              ThrowsMessage<DataError>(HasSubstr("x.gz: the gzip-compressed data is damaged")));
  EXPECT_THAT([] { (void)text_of(gzip_member("text") + "more"); },
              ThrowsMessage<DataError>(HasSubstr("what follows is no gzip member")));
  EXPECT_THROW((void)text_of(zstandard_frame("text") + "more"), DataError);
}

TEST_F(Decompress, AWindowThatNeedsTooMuchMemoryIsRefusedWithTheCommand) {
  try {
    (void)text_of(zstandard_head(31) + "\x01\x00\x00"s);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("more than 128 MiB"));
    EXPECT_THAT(error.hint(), HasSubstr("zstdcat --long=31 x.gz"));
  }
}

TEST_F(Decompress, DamageOfWhatCameThroughAPipeIsCheckedInTheFileItIsOf) {
  try {
    decompress(std::string_view(kGzipped).substr(0, 20), Compression::kGzip, "standard input",
               [](std::string_view) {});
    FAIL() << "it is cut off";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("standard input: cut off"));
    EXPECT_THAT(error.hint(), HasSubstr("`gzip -t FILE`"));
  }
}

}  // namespace
}  // namespace switchyard::format
