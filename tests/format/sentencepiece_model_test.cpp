#include "switchyard/format/sentencepiece_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/damage.h"
#include "switchyard/core/error.h"

namespace switchyard::format {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

SentencePieceModel small_model() {
  SentencePieceModel model;
  model.piece = {{"<unk>", 0, PieceType::kUnknown},
                 {"</s>", 0, PieceType::kControl},
                 {"\xE2\x96\x81th", -1.5F, PieceType::kNormal},
                 {"\xC3\xA9", -2, PieceType::kNormal}};
  model.algorithm = SentencePieceAlgorithm::kBpe;
  model.add_dummy_prefix = false;
  return model;
}

// A table with the one rule 'A' -> "bc": root, child at 256 ^ 'A', its leaf at 512.
std::vector<std::uint32_t> one_rule_trie() {
  std::vector<std::uint32_t> units(768, 0x80000000U);  // labels that match no byte
  const std::uint32_t child = 256U ^ 'A';
  units[0] = 256U << 10U;
  units[child] = (child ^ 512U) << 10U | 1U << 8U | 'A';
  units[512] = 0x80000000U | 0U;  // replacement at 0
  return units;
}

std::string character_map(const std::vector<std::uint32_t>& units, const std::string& strings) {
  const auto size = static_cast<std::uint32_t>(units.size() * 4);
  std::string map(reinterpret_cast<const char*>(&size), 4);
  map.append(reinterpret_cast<const char*>(units.data()), size);
  return map + strings;
}

void expect_refused(const SentencePieceModel& model, const std::string& message) {
  EXPECT_THAT(
      [&] { (void)parse_sentencepiece_model(serialize_sentencepiece_model(model), "t.model"); },
      ThrowsMessage<DataError>(::testing::AllOf(HasSubstr("t.model"), HasSubstr(message))));
}

TEST(SentencePieceModel, SerializedFieldsAreReadBack) {
  SentencePieceModel model = small_model();
  model.unknown_surface = "?";
  model.end_piece = "[END]";
  model.remove_extra_whitespaces = false;
  model.space_after_newline = SpaceAfterNewline::kUnlessLineBreakFollows;
  model.character_map = character_map(one_rule_trie(), std::string("bc\0", 3));
  const SentencePieceModel read =
      parse_sentencepiece_model(serialize_sentencepiece_model(model), "x");
  ASSERT_EQ(read.piece.size(), 4U);
  EXPECT_EQ(read.piece[2].text, "\xE2\x96\x81th");
  EXPECT_EQ(read.piece[2].score, -1.5F);
  EXPECT_EQ(read.piece[1].type, PieceType::kControl);
  EXPECT_EQ(read.algorithm, SentencePieceAlgorithm::kBpe);
  EXPECT_FALSE(read.add_dummy_prefix);
  EXPECT_FALSE(read.remove_extra_whitespaces);
  EXPECT_TRUE(read.escape_whitespaces);
  EXPECT_EQ(read.space_after_newline, SpaceAfterNewline::kUnlessLineBreakFollows);
  EXPECT_EQ(read.unknown_surface, "?");
  EXPECT_EQ(read.end_piece, "[END]");
  EXPECT_EQ(read.character_map, model.character_map);
}

TEST(SentencePieceModel, PiecesThatTheLibraryCouldNotHandleAreRefused) {
  const auto with = [](SentencePiece piece) {
    SentencePieceModel model = small_model();
    model.piece.push_back(std::move(piece));
    return model;
  };
  expect_refused(with({"", 0, PieceType::kNormal}), "piece 4 is empty");
  expect_refused(with({std::string("a\0b", 3), 0, PieceType::kNormal}), "NUL");
  expect_refused(with({"\xFF", 0, PieceType::kNormal}), "not valid UTF-8");
  expect_refused(with({"\xC3\xA9", 0, PieceType::kNormal}), "there twice");
  expect_refused(with({"a", std::nanf(""), PieceType::kNormal}), "not finite");
  expect_refused(with({"a", std::numeric_limits<float>::infinity(), PieceType::kNormal}),
                 "not finite");
  expect_refused(with({std::string(5000, 'a'), 0, PieceType::kNormal}), "longer");
  expect_refused(with({"<unk2>", 0, PieceType::kUnknown}), "2 unknown pieces");
  expect_refused(with({"<0x00>", 0, PieceType::kByte}), "byte_fallback is false with 1");
  SentencePieceModel empty;
  expect_refused(empty, "no pieces");
  empty.piece = {{"<unk>", 0, PieceType::kUnknown}};
  expect_refused(empty, "no piece that text could use");
}

TEST(SentencePieceModel, ByteFallbackNeedsAll256BytePieces) {
  SentencePieceModel model = small_model();
  model.byte_fallback = true;
  for (unsigned byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    model.piece.push_back({text, 0, PieceType::kByte});
  }
  EXPECT_NO_THROW((void)parse_sentencepiece_model(serialize_sentencepiece_model(model), "x"));
  model.piece.back().text = "<0xff>";
  expect_refused(model, "<0xFF> is missing");
  model.piece.pop_back();
  expect_refused(model, "255 byte pieces");
}

TEST(SentencePieceModel, UserPiecesThatNestTooDeepAreRefused) {
  SentencePieceModel model = small_model();
  for (std::size_t length = 1; length <= 64; ++length) {
    model.piece.push_back({std::string(length, 'x'), 0, PieceType::kUserDefined});
  }
  EXPECT_NO_THROW((void)parse_sentencepiece_model(serialize_sentencepiece_model(model), "x"));
  model.piece.push_back({std::string(65, 'x'), 0, PieceType::kUserDefined});
  expect_refused(model, "begin one another");
}

TEST(SentencePieceModel, ATableThatWouldBeReadOutsideItsBoundsIsRefused) {
  const std::string strings("bc\0", 3);
  const auto expect_table_refused = [](const std::string& map, const std::string& message) {
    SentencePieceModel model = small_model();
    model.character_map = map;
    expect_refused(model, message);
  };
  const std::uint32_t child = 256U ^ 'A';
  auto units = one_rule_trie();
  units[0] = 1U << 30U;  // children far outside
  expect_table_refused(character_map(units, strings), "points outside itself");
  units = one_rule_trie();
  units[child] |= 1U << 9U;  // offset shifted by 8
  expect_table_refused(character_map(units, strings), "points outside itself");
  units = one_rule_trie();
  units[512] = 0x80000003U;
  expect_table_refused(character_map(units, strings), "points outside its strings");
  units = one_rule_trie();
  units[child] = (child ^ 256U) << 10U | 1U << 8U | 'A';  // its own parent, with a rule
  units[256] = 0x80000000U;
  expect_table_refused(character_map(units, strings), "nests too many rules");
  expect_table_refused(character_map(one_rule_trie(), "bc"), "ends inside a replacement");
  expect_table_refused(character_map(one_rule_trie(), ""), "impossible size");
  expect_table_refused("ab", "truncated");
}

TEST(SentencePieceModel, UnsupportedModelTypesAreNamed) {
  std::string bytes = serialize_sentencepiece_model(small_model());
  const std::string trainer("\x18\x02\x20\x04", 4);  // model_type: bpe, then vocab_size: 4
  const auto at = bytes.find(trainer);
  ASSERT_NE(at, std::string::npos);
  bytes[at + 1] = 3;  // word
  EXPECT_THAT([&] { (void)parse_sentencepiece_model(bytes, "t.model"); },
              ThrowsMessage<DataError>(HasSubstr("model type 3 is not supported")));
}

TEST(SentencePieceModel, BytesThatAreNoModelAreRefused) {
  for (const char* text : {"", "hello", "{\"model\": {}}", "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF"}) {
    EXPECT_THROW((void)parse_sentencepiece_model(text, "x"), DataError) << text;
  }
}

TEST(SentencePieceModel, DamagedModelsAreRefusedOrReadButNeverCrash) {
  SentencePieceModel model = small_model();
  model.character_map = character_map(one_rule_trie(), std::string("bc\0", 3));
  const std::string bytes = serialize_sentencepiece_model(model);
  const testing::Reader read = [](std::span<const std::byte> damaged) {
    (void)parse_sentencepiece_model({reinterpret_cast<const char*>(damaged.data()), damaged.size()},
                                    "x");
  };
  EXPECT_GT(testing::read_every_truncation(bytes, read).refused, bytes.size() - 20);
  EXPECT_GT(testing::read_byte_flips(bytes, read).refused, 0U);
}

}  // namespace
}  // namespace switchyard::format
