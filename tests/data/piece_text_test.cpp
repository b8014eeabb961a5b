// A tokenizer is used on text as it was trained on it.
#include "data/piece_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/small_text.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/format/sentencepiece_model.h"

namespace switchyard::data {
namespace {

using format::SpaceAfterNewline;
using ::testing::HasSubstr;

std::string replaced(const std::string& text, std::string_view what, std::string_view by) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text.compare(at, what.size(), what) == 0) {
      result += by;
      at += what.size();
    } else {
      result += text[at++];
    }
  }
  return result;
}

struct Segmentation {
  std::size_t num_tokens = 0;
  std::set<int> pieces;
};

// Of the stretches that the trainer got, each encoded by the library alone.
Segmentation of_stretches(const Tokenizer& tokenizer, std::string_view text) {
  format::SentencePieceModel model =
      format::parse_sentencepiece_model(tokenizer.serialized(), "trained");
  model.add_dummy_prefix = false;
  sentencepiece::SentencePieceProcessor library;
  EXPECT_TRUE(library.LoadFromSerializedProto(format::serialize_sentencepiece_model(model)).ok());
  const std::string spaced = text_to_encode(text, true, SpaceAfterNewline::kUnlessLineBreakFollows);
  Segmentation result;
  for (std::size_t at = 0; at < spaced.size();) {
    const std::string stretch = spaced.substr(at, end_of_stretch(spaced, at) - at);
    at += stretch.size();
    if (starts_reserved_sign(stretch)) {
      result.num_tokens += stretch.size();  // written as bytes
      continue;
    }
    std::vector<int> part;
    EXPECT_TRUE(library.Encode(stretch, &part).ok());
    result.num_tokens += part.size();
    result.pieces.insert(part.begin(), part.end());
  }
  return result;
}

TEST(PieceText, WhateverEndsALineOrIsASpaceTextIsEncodedAsItWasTrainedOn) {
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"newline", "\n"},
      {"CRLF", "\r\n"},
      {"carriage return", "\r"},
      {"tab", "\n\t"},
      {"vertical tab", "\v"},
      {"form feed", "\n\f"},
      {"next line", "\xC2\x85"},
      {"line separator", "\xE2\x80\xA8"},
      {"paragraph separator", "\xE2\x80\xA9"},
      {"no-break space", "\n\xC2\xA0"},
      {"ideographic space", "\n\xE3\x80\x80"},
      {"several spaces", "\n   "},
      {"spaces before the end", "  \r\n"},
      {"a mixture", "\n\r\n\xE2\x80\xA8\r"},
      {"reserved sign", "\n\xE2\x96\x81"},
  };
  for (const auto& [name, line_end] : kinds) {
    // At the start and the end as well.
    const std::string text =
        line_end + replaced(testing::small_text(20000), "\n", line_end) + line_end + line_end;
    for (const char* spec : {"bpe:450", "unigram:450"}) {
      const Tokenizer tokenizer =
          train_tokenizer(parse_tokenizer_spec(spec), std::vector<std::string>{text});
      const std::vector<std::int32_t> ids = tokenizer.encode(text);
      EXPECT_EQ(tokenizer.decode(ids), text) << name;
      const Segmentation learned = of_stretches(tokenizer, text);
      EXPECT_LE(ids.size(), learned.num_tokens) << name << ", " << spec;
      const std::set<int> used(ids.begin(), ids.end());
      for (const int piece : learned.pieces) {
        EXPECT_TRUE(used.contains(piece)) << name << ", " << spec << ": " << tokenizer.piece(piece);
      }
    }
  }
}

TEST(PieceText, AnEmptyLineIsOnePieceWhereLinesEndInCrlf) {
  const std::string text = replaced(testing::small_text(20000), "\n", "\r\n");
  const Tokenizer tokenizer =
      train_tokenizer(parse_tokenizer_spec("bpe:450"), std::vector<std::string>{text});
  bool used = false;
  for (const std::int32_t id : tokenizer.encode(text)) {
    used = used || tokenizer.piece(id) == ".\\r\\n\\r\\n";
  }
  EXPECT_TRUE(used);
}

// What a model of an early version says of itself is what it was trained with.
TEST(PieceText, AnEarlierModelEncodesAsBefore) {
  const Tokenizer now = train_tokenizer(parse_tokenizer_spec("bpe:450"),
                                        std::vector<std::string>{testing::small_text(20000)});
  format::SentencePieceModel model = format::parse_sentencepiece_model(now.serialized(), "x");
  model.add_dummy_prefix = false;
  model.space_after_newline = format::SpaceAfterNewline::kUnlessNewlineFollows;
  const std::string bytes = format::serialize_sentencepiece_model(model);
  EXPECT_THAT(bytes, HasSubstr("switchyard_space_after_newline"));
  const Tokenizer early = Tokenizer::from_sentencepiece(bytes, "early");
  EXPECT_EQ(early.decode(early.encode("\n\r\n")), "\n\r\n");
  EXPECT_EQ(early.encode("\n\r").size(), 3U) << "newline, space, carriage return";
  EXPECT_EQ(now.encode("a\n\r").size(), 3U);
  const auto first = early.encode("the").front();
  EXPECT_FALSE(early.piece(first).starts_with("\xE2\x96\x81"));
  EXPECT_TRUE(early.piece(early.encode("\nthe").at(1)).starts_with("\xE2\x96\x81"));
}

TEST(PieceText, TheSpacesThatWereAddedDependOnTheRule) {
  const auto crlf = [](SpaceAfterNewline rule) {
    return text_to_encode("a\r\n\r\nb\n", false, rule);
  };
  EXPECT_EQ(crlf(SpaceAfterNewline::kNever), "a\r\n\r\nb\n");
  EXPECT_EQ(crlf(SpaceAfterNewline::kUnlessNewlineFollows), "a\r\n \r\n b\n");
  EXPECT_EQ(crlf(SpaceAfterNewline::kUnlessLineBreakFollows), "a\r\n\r\n b\n");
  EXPECT_EQ(text_to_encode("\na", true, SpaceAfterNewline::kUnlessLineBreakFollows), "\n a");
  EXPECT_EQ(text_to_encode("\na", true, SpaceAfterNewline::kNever), " \na");
  EXPECT_EQ(text_to_encode("", true, SpaceAfterNewline::kNever), "");
  EXPECT_EQ(text_to_encode(" a", true, SpaceAfterNewline::kNever), "  a");
}

}  // namespace
}  // namespace switchyard::data
