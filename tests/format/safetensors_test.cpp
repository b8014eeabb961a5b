#include "switchyard/format/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/damage.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"

namespace switchyard::format {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A file with this header text and `data_bytes` zero bytes behind it.
std::string file_with(const std::string& header, std::size_t data_bytes) {
  const auto size = static_cast<std::uint64_t>(header.size());
  return std::string(reinterpret_cast<const char*>(&size), 8) + header +
         std::string(data_bytes, '\0');
}

SafetensorsFile parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "model.safetensors");
}

void expect_refused(const std::string& header, std::size_t data_bytes, const std::string& message) {
  EXPECT_THAT([&] { (void)parse(file_with(header, data_bytes)); },
              ThrowsMessage<DataError>(
                  ::testing::AllOf(HasSubstr("model.safetensors"), HasSubstr(message))))
      << header;
}

std::string written_example() {
  const testing::TemporaryFolder folder;
  SafetensorsWriter writer(folder / "m",
                           {{"b", ScalarType::kF32, {2, 3}},
                            {"a", ScalarType::kU8, {3}},
                            {"empty", ScalarType::kBF16, {0, 7}},
                            {"scalar", ScalarType::kI64, {}}},
                           {{"step", "5"}});
  const std::vector<float> b{1, 2, 3, 4, 5, 6};
  const std::vector<std::uint8_t> a{7, 8, 9};
  const std::int64_t scalar = -2;
  writer.append("b", std::as_bytes(std::span(b)));
  writer.append("a", std::as_bytes(std::span(a)));
  writer.append("empty", {});
  writer.append("scalar", std::as_bytes(std::span(&scalar, 1)));
  (void)writer.commit();
  return read_file(folder / "m");
}

TEST(Safetensors, WrittenTensorsAreReadBack) {
  const std::string bytes = written_example();
  const SafetensorsFile file = parse(bytes);
  ASSERT_EQ(file.tensor.size(), 4U);
  EXPECT_EQ(file.metadata.at("step"), "5");
  const TensorView& b = file.tensor.at("b");
  EXPECT_EQ(b.type, ScalarType::kF32);
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  const float expected[] = {1, 2, 3, 4, 5, 6};
  ASSERT_EQ(b.bytes.size(), sizeof(expected));
  EXPECT_EQ(std::memcmp(b.bytes.data(), expected, sizeof(expected)), 0);
  EXPECT_EQ(std::to_integer<int>(file.tensor.at("a").bytes[2]), 9);
  EXPECT_TRUE(file.tensor.at("empty").bytes.empty());
  EXPECT_TRUE(file.tensor.at("scalar").shape.empty());
  EXPECT_EQ(file.tensor.at("scalar").bytes.size(), 8U);
}

TEST(Safetensors, TensorBytesBeginAtAMultipleOf64) {
  std::uint64_t header = 0;
  const std::string bytes = written_example();
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ((8 + header) % 64, 0U);
  EXPECT_EQ(bytes[8], '{');
}

TEST(Safetensors, AHeaderLongerThanTheFileOrTheLimitIsRefused) {
  std::string bytes = file_with("{}", 0);
  for (const std::uint64_t size : {std::uint64_t{3}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    std::memcpy(bytes.data(), &size, 8);
    EXPECT_THAT([&] { (void)parse(bytes); }, ThrowsMessage<DataError>(HasSubstr("claims")));
  }
  EXPECT_THROW((void)parse("short"), DataError);
  EXPECT_TRUE(parse(file_with("{}", 0)).tensor.empty());
}

TEST(Safetensors, OffsetsThatOverlapLeaveHolesOrOverflowAreRefused) {
  const std::string two =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],)";
  EXPECT_NO_THROW((void)parse(file_with(two + R"("data_offsets":[4,8]}})", 8)));
  expect_refused(two + R"("data_offsets":[2,6]}})", 8, "b: begins at byte 2");
  expect_refused(two + R"("data_offsets":[0,4]}})", 8, "begins at byte 0");
  expect_refused(two + R"("data_offsets":[5,9]}})", 9, "b: begins at byte 5");
  expect_refused(two + R"("data_offsets":[4,8]}})", 9, "cover 8 of 9");
  expect_refused(two + R"("data_offsets":[8,4]}})", 8, "data_offsets must be");
  expect_refused(two + R"("data_offsets":[4,18446744073709551615]}})", 8, "whole numbers");
  expect_refused(two + R"("data_offsets":[-4,8]}})", 8, "whole numbers");
  expect_refused(two + R"("data_offsets":[4]}})", 8, "data_offsets must be");
}

TEST(Safetensors, ShapesThatDisagreeWithTheBytesAreRefused) {
  const auto tensor = [](const std::string& dtype, const std::string& shape) {
    return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[0,8]}})";
  };
  EXPECT_NO_THROW((void)parse(file_with(tensor("F32", "[2]"), 8)));
  expect_refused(tensor("F32", "[3]"), 8, "need 12 bytes");
  expect_refused(tensor("F32", "[4294967296,4294967296]"), 8, "more than 2^63");
  expect_refused(tensor("F32", "[-2,-1]"), 8, "whole numbers");
  expect_refused(tensor("F32", "[2.0]"), 8, "whole numbers");
  expect_refused(tensor("Q4", "[2]"), 8, "dtype 'Q4'");
  expect_refused(tensor("F32", "2"), 8, "expected a list");
  expect_refused(tensor("F32", "[0,4611686018427387904]"), 8, "more than 2^63");
}

TEST(Safetensors, AHeaderOfVeryManyTensorsIsReadWithoutLookingAtEachPair) {
  constexpr int kTensors = 60'000;  // pairs would be 1.8e9
  std::string header = "{";
  for (int i = 0; i < kTensors; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_EQ(parse(file_with(header + "}", 0)).tensor.size(), std::size_t{kTensors});
}

TEST(Safetensors, ErrorsShowForeignNamesShortAndWithoutControlCharacters) {
  const std::string name = "\\u001b[2J" + std::string(100'000, 'n');
  try {
    (void)parse(file_with("{\"" + name + "\":{\"dtype\":\"U8\"}}", 0));
    ADD_FAILURE() << "accepted";
  } catch (const DataError& error) {
    const std::string_view message = error.what();
    EXPECT_LT(message.size(), 400U);
    EXPECT_EQ(message.find('\x1b'), std::string_view::npos);
  }
  expect_refused(R"({"__metadata__":{"a":"x","a\u0000b":1}})", 0, "expected a string");
}

TEST(Safetensors, HeadersOfTheWrongFormAreRefused) {
  expect_refused("[]", 0, "no JSON object");
  expect_refused("{\"a\":1}", 0, "expected a JSON object");
  expect_refused("{", 0, "not valid JSON");
  expect_refused(R"({"a":{},"a":{}})", 0, "appears twice");
  expect_refused(R"({"a":{"dtype":"U8","shape":[0]}})", 0, "'data_offsets' is missing");
  expect_refused(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0, "exactly");
  expect_refused(R"({"__metadata__":{"a":1}})", 0, "expected a string");
  expect_refused(R"({"__metadata__":[]})", 0, "expected an object");
  expect_refused(std::string(100000, '['), 0, "nested deeper");
}

TEST(Safetensors, DamagedFilesAreRefusedOrReadButNeverCrash) {
  const std::string bytes = written_example();
  const testing::Reader read = [](std::span<const std::byte> file) {
    for (const auto& [name, view] : parse_safetensors(file, "x").tensor) {
      unsigned sum = 0;
      for (const std::byte byte : view.bytes) sum += std::to_integer<unsigned>(byte);
      volatile unsigned touched = sum;
      (void)touched;
    }
  };
  const auto cut = testing::read_every_truncation(bytes, read);
  EXPECT_EQ(cut.refused, cut.tried);
  const auto flipped = testing::read_byte_flips(bytes, read);
  EXPECT_GT(flipped.refused, 300U);
  EXPECT_LT(flipped.refused, flipped.tried) << "tensor bytes are free";
}

TEST(SafetensorsWriter, TensorsMustComeInOrderAndComplete) {
  const testing::TemporaryFolder folder;
  SafetensorsWriter writer(folder / "m",
                           {{"a", ScalarType::kU8, {2}}, {"b", ScalarType::kU8, {1}}});
  const std::vector<std::uint8_t> two{1, 2};
  const auto one = std::as_bytes(std::span(two).first(1));
  EXPECT_THROW(writer.append("b", one), InternalError);
  writer.append("a", one);
  EXPECT_THROW(writer.append("b", one), InternalError);
  EXPECT_THROW(writer.append("a", std::as_bytes(std::span(two))), InternalError);
  EXPECT_THROW((void)writer.commit(), InternalError);
  writer.append("a", one);
  EXPECT_THROW(writer.append("a", one), InternalError);
  EXPECT_THROW((void)writer.commit(), InternalError);
}

TEST(SafetensorsWriter, ATensorInPiecesMakesTheSameFileAndItsDigestIsThatOfTheFile) {
  const testing::TemporaryFolder folder;
  std::vector<std::uint8_t> large(3'000'000);
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<std::uint8_t>(i * 13 % 251);
  const auto bytes = std::as_bytes(std::span(large));
  const auto write = [&](const std::string& name, std::size_t piece) {
    SafetensorsWriter writer(folder / name,
                             {{"large", ScalarType::kU8, {3'000'000}},
                              {"empty", ScalarType::kF32, {0}},
                              {"last", ScalarType::kU8, {2}}},
                             {{"format", "pt"}});
    for (std::size_t done = 0; done < bytes.size(); done += piece) {
      writer.append("large", bytes.subspan(done, std::min(piece, bytes.size() - done)));
    }
    writer.append("empty", {});
    writer.append("last", bytes.first(2));
    return writer.commit();
  };
  const FileDigest whole = write("whole", bytes.size());
  const FileDigest pieces = write("pieces", 999'999);
  EXPECT_EQ(read_file(folder / "whole"), read_file(folder / "pieces"));
  for (const auto& [name, digest] : {std::pair("whole", whole), std::pair("pieces", pieces)}) {
    EXPECT_EQ(digest.xxh3, xxh3_of_file(folder / name));
    EXPECT_EQ(digest.bytes, std::filesystem::file_size(folder / name));
  }
}

}  // namespace
}  // namespace switchyard::format
