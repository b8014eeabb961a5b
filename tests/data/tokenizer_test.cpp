#include "switchyard/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/small_text.h"
#include "support/damage.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/philox.h"
#include "switchyard/format/sentencepiece_model.h"
#include "switchyard/ops/backend.h"

namespace switchyard::data {
namespace {

using namespace std::string_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Tokenizer trained(const std::string& spec) {
  const std::vector<std::string> texts{testing::small_text(30000)};
  return train_tokenizer(parse_tokenizer_spec(spec), texts);
}

const Tokenizer& trained_bpe() {
  static const Tokenizer tokenizer = trained("bpe:500");
  return tokenizer;
}

// The trained model with other settings, as a foreign model would have them.
Tokenizer foreign(bool dummy_prefix, bool remove_spaces, bool byte_fallback) {
  format::SentencePieceModel model =
      format::parse_sentencepiece_model(trained_bpe().serialized(), "x");
  model.add_dummy_prefix = dummy_prefix;
  model.remove_extra_whitespaces = remove_spaces;
  model.byte_fallback = byte_fallback;
  model.space_after_newline = format::SpaceAfterNewline::kNever;
  if (!byte_fallback) {
    std::erase_if(model.piece,
                  [](const auto& piece) { return piece.type == format::PieceType::kByte; });
  }
  return Tokenizer::from_sentencepiece(format::serialize_sentencepiece_model(model), "foreign");
}

std::vector<std::int32_t> ids_of_library(const Tokenizer& tokenizer, const std::string& text) {
  sentencepiece::SentencePieceProcessor processor;
  EXPECT_TRUE(processor.LoadFromSerializedProto(tokenizer.serialized()).ok());
  std::vector<int> ids;
  EXPECT_TRUE(processor.Encode(text, &ids).ok());
  return {ids.begin(), ids.end()};
}

std::string random_bytes(std::size_t size, std::uint32_t stream) {
  std::string text;
  for (std::uint32_t i = 0; text.size() < size; ++i) {
    for (const std::uint32_t word : philox(philox_key(7), {i, stream, 0, 0})) {
      text += static_cast<char>(word);
    }
  }
  text.resize(size);
  return text;
}

TEST(ByteTokenizer, BytesAreTheirOwnIdsAndOneMoreSeparates) {
  const Tokenizer tokenizer = Tokenizer::byte_level();
  EXPECT_THAT(tokenizer.encode("A\n\xC3\xA9"), ElementsAre(65, 10, 0xC3, 0xA9));
  EXPECT_EQ(tokenizer.vocab_size(), 257);
  EXPECT_EQ(tokenizer.separator_id(), 256);
  EXPECT_EQ(tokenizer.end_id(), 256);
  EXPECT_FALSE(tokenizer.begin_id().has_value());
  EXPECT_FALSE(tokenizer.unknown_id().has_value());
  EXPECT_TRUE(tokenizer.lossless());
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{72, 105, 256, 33}), "Hi!");
  EXPECT_EQ(tokenizer.piece(10), "\\n");
  EXPECT_EQ(tokenizer.piece(0xC3), "<0xC3>");
  EXPECT_EQ(tokenizer.piece(256), "<eos>");
}

TEST(ByteTokenizer, AnIdOutsideTheVocabularyIsRefused) {
  const Tokenizer tokenizer = Tokenizer::byte_level();
  EXPECT_THROW((void)tokenizer.decode(std::vector<std::int32_t>{257}), DataError);
  EXPECT_THROW((void)tokenizer.decode(std::vector<std::int32_t>{-1}), DataError);
}

TEST(TrainedTokenizer, AnyBytesComeBackUnchanged) {
  for (const char* spec : {"bpe:500", "unigram:500"}) {
    const Tokenizer tokenizer = trained(spec);
    EXPECT_TRUE(tokenizer.lossless());
    const std::vector<std::string> texts{
        "",
        " ",
        "   leading, and   inner   spaces  ",
        "line\nbreaks\n\n\nand\r\ntabs\t\there\n",
        "nul \0 byte"s,
        "caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80",
        "\xE2\x96\x81 is SentencePiece's space, \xE2\x96\x85 its unknown",
        "<s></s><unk><0x41>",
        "\xEF\xBB\xBF byte order mark, \xEF\xBF\xBD replacement",
        "not UTF-8: \xFF\xFE \xE2\x82 \xC3",
        "\xE2\x96\x81\xE2\x96\x81\0\0\xFF\xFF"s,
        testing::small_text(5000),
        random_bytes(5000, 1),
    };
    for (const std::string& text : texts) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << spec;
    }
  }
}

TEST(TrainedTokenizer, AWordIsTheSamePiecesAtTheStartOfALineAsInsideIt) {
  const Tokenizer& tokenizer = trained_bpe();
  const auto inside = tokenizer.encode("of the earth");
  auto wrapped = tokenizer.encode("of\nthe earth");
  const auto newline = tokenizer.encode("\n");
  ASSERT_EQ(newline.size(), 1U);
  EXPECT_EQ(std::erase(wrapped, newline.front()), 1U);
  EXPECT_EQ(wrapped, inside);
  // And it survives being written to a file.
  const Tokenizer again = Tokenizer::from_sentencepiece(tokenizer.serialized(), "again");
  EXPECT_EQ(again.encode("of\nthe earth"), tokenizer.encode("of\nthe earth"));
}

TEST(TrainedTokenizer, AWordIsTheSamePiecesAtTheStartOfATextAsInsideIt) {
  const Tokenizer& tokenizer = trained_bpe();
  const auto one = tokenizer.encode("the");
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(tokenizer.encode("of the").back(), one.front());
  // The space that was put before it belongs to no text: after nothing and after a separator.
  EXPECT_EQ(tokenizer.decode(one), "the");
  EXPECT_EQ(tokenizer.bytes_of(one.front(), std::nullopt), "the");
  EXPECT_EQ(tokenizer.bytes_of(one.front(), tokenizer.separator_id()), "the");
  EXPECT_EQ(tokenizer.bytes_of(one.front(), one.front()), " the");
  const auto text = [&](std::vector<std::int32_t> ids) { return tokenizer.decode(ids); };
  EXPECT_EQ(text({one.front(), *tokenizer.separator_id(), one.front(), one.front()}), "thethe the");
}

TEST(TrainedTokenizer, NewlinesAndSpacesComeBackHoweverTheyStandTogether) {
  const Tokenizer& tokenizer = trained_bpe();
  // All texts of up to six of these.
  constexpr std::string_view kAlphabet = "\n\r a";
  for (std::size_t length = 1; length <= 6; ++length) {
    std::size_t count = 1;
    for (std::size_t i = 0; i < length; ++i) count *= kAlphabet.size();
    for (std::size_t number = 0; number < count; ++number) {
      std::string text;
      for (std::size_t rest = number; text.size() < length; rest /= kAlphabet.size()) {
        text += kAlphabet[rest % kAlphabet.size()];
      }
      const auto ids = tokenizer.encode(text);
      ASSERT_EQ(tokenizer.decode(ids), text) << ::testing::PrintToString(text);
      // Token by token as well, as text is generated.
      std::string streamed;
      std::optional<std::int32_t> previous;
      for (const std::int32_t id : ids) {
        streamed += tokenizer.bytes_of(id, std::exchange(previous, id));
      }
      ASSERT_EQ(streamed, text) << ::testing::PrintToString(text);
    }
  }
}

TEST(TrainedTokenizer, NewlinesArePiecesThatGlueToNoWord) {
  const Tokenizer& tokenizer = trained_bpe();
  bool newline = false;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.bytes_of(id, std::nullopt);
    const auto at = bytes.find('\n');
    if (at == std::string::npos || tokenizer.piece(id).starts_with("<0x")) continue;
    newline = newline || bytes == "\n";
    const bool letter_before = at > 0 && std::isalpha(static_cast<unsigned char>(bytes[at - 1]));
    const bool letter_after =
        at + 1 < bytes.size() && std::isalpha(static_cast<unsigned char>(bytes[at + 1]));
    EXPECT_FALSE(letter_before || letter_after) << tokenizer.piece(id);
  }
  EXPECT_TRUE(newline) << "a newline costs one piece of its own";
}

TEST(TrainedTokenizer, ItCompressesWhatItLearnedFrom) {
  const std::string text = testing::small_text(30000);
  EXPECT_LT(trained_bpe().encode(text).size() * 3, text.size());
}

TEST(TrainedTokenizer, ControlPiecesHaveTheUsualIds) {
  const Tokenizer& tokenizer = trained_bpe();
  EXPECT_EQ(tokenizer.unknown_id(), 0);
  EXPECT_EQ(tokenizer.begin_id(), 1);
  EXPECT_EQ(tokenizer.end_id(), 2);
  EXPECT_EQ(tokenizer.separator_id(), 2);
  EXPECT_FALSE(tokenizer.padding_id().has_value());
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{1, 2}), "");
  EXPECT_EQ(tokenizer.piece(2), "</s>");
}

TEST(TrainedTokenizer, TextThatSpellsAControlPieceIsLearnedLikeAnyOther) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "the <unk> of the <unk> said </s>, and ";
  const Tokenizer tokenizer =
      train_tokenizer(parse_tokenizer_spec("bpe:400"), std::vector<std::string>{text});
  const auto ids = tokenizer.encode("<unk>");
  EXPECT_EQ(ids.size(), 3U);  // " <", "unk", ">": letters and signs are pieces of their own
  EXPECT_THAT(ids, ::testing::Not(::testing::Contains(tokenizer.unknown_id())));
  EXPECT_EQ(tokenizer.decode(ids), "<unk>");
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{2}), "");
  EXPECT_EQ(tokenizer.end_id(), 2);
}

TEST(TrainedTokenizer, TrainingAgainGivesTheSameModel) {
  EXPECT_EQ(trained("bpe:400").hash(), trained("bpe:400").hash());
  EXPECT_EQ(trained("unigram:400").hash(), trained("unigram:400").hash());
  EXPECT_NE(trained("bpe:400").hash(), trained_bpe().hash());
}

TEST(TrainedTokenizer, TextWithNothingToLearnIsRefused) {
  const TokenizerSpec spec = parse_tokenizer_spec("bpe:500");
  for (const std::string& text : {""s, "\n\n"s, "a"s, "- - -"s, "\xE2\x96\x81\xE2\x96\x85"s}) {
    EXPECT_THROW((void)train_tokenizer(spec, std::vector<std::string>{text}), DataError) << text;
  }
  EXPECT_LT(train_tokenizer(spec, std::vector<std::string>{"ab"}).vocab_size(), 300);
}

TEST(TrainedTokenizer, TooManyCharactersForTheVocabularyAreAUsageError) {
  std::string text;
  for (unsigned code = 0x4E00; code < 0x4E00 + 1000; ++code) {
    text += static_cast<char>(0xE0U | code >> 12U);
    text += static_cast<char>(0x80U | (code >> 6U & 0x3FU));
    text += static_cast<char>(0x80U | (code & 0x3FU));
  }
  EXPECT_THAT(
      [&] {
        (void)train_tokenizer(parse_tokenizer_spec("bpe:400"), std::vector<std::string>{text});
      },
      ThrowsMessage<UsageError>(HasSubstr("a vocabulary of 400 cannot hold")));
}

TEST(SentencePieceTokenizer, SegmentsGiveTheIdsOfTheWholeText) {
  const std::string text = testing::small_text(20000) + "  \n and  double  spaces \t end ";
  for (const bool dummy_prefix : {false, true}) {
    for (const bool remove_spaces : {false, true}) {
      for (const bool byte_fallback : {false, true}) {
        const Tokenizer tokenizer = foreign(dummy_prefix, remove_spaces, byte_fallback);
        EXPECT_EQ(tokenizer.encode(text), ids_of_library(tokenizer, text))
            << dummy_prefix << remove_spaces << byte_fallback;
        EXPECT_EQ(tokenizer.lossless(), byte_fallback && !remove_spaces);
      }
    }
  }
}

// Such a model writes a space as the bytes of the sign that stands for it (found by fuzzing).
TEST(SentencePieceTokenizer, AModelWithoutAPieceForTheSpaceDoesNotCountAsLossless) {
  format::SentencePieceModel model =
      format::parse_sentencepiece_model(trained_bpe().serialized(), "x");
  EXPECT_TRUE(trained_bpe().lossless());
  std::erase_if(model.piece, [](const auto& piece) { return piece.text == "\xE2\x96\x81"; });
  const Tokenizer tokenizer =
      Tokenizer::from_sentencepiece(format::serialize_sentencepiece_model(model), "x");
  const std::string text = "two  spaces";
  EXPECT_NE(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_FALSE(tokenizer.lossless());
}

TEST(SentencePieceTokenizer, ALeadingSpaceThatEncodingAddsIsDroppedAgain) {
  const Tokenizer prefixed = foreign(true, false, true);
  for (const std::string& text : {"word"s, " word"s, "  two"s, ""s, "\xFF"s, "\n"s}) {
    EXPECT_EQ(prefixed.decode(prefixed.encode(text)), text);
  }
  const Tokenizer trimmed = foreign(true, true, true);
  EXPECT_EQ(trimmed.decode(trimmed.encode("  two   words ")), "two words");
}

TEST(SentencePieceTokenizer, LargeTextsAndBatchesEqualTheirPartsOnAnyNumberOfThreads) {
  ops::install_parallel_backend();
  std::string large;
  while (large.size() < (std::size_t{9} << 18)) large += testing::small_text(60000);
  for (const Tokenizer& tokenizer : {trained_bpe(), foreign(true, true, false)}) {
    const std::vector<std::string_view> texts{"short", large, "", "last one"};
    const auto batch = tokenizer.encode_batch(texts);
    ASSERT_EQ(batch.size(), texts.size());
    EXPECT_EQ(batch[0], tokenizer.encode("short"));
    EXPECT_EQ(batch[3], tokenizer.encode("last one"));
    EXPECT_TRUE(batch[2].empty());
    // A text above the block size is cut; its beginning must not notice.
    const auto head = tokenizer.encode(std::string_view(large).substr(0, 100000));
    EXPECT_TRUE(std::equal(head.begin(), head.end() - 20, batch[1].begin()));
    if (tokenizer.lossless()) {
      EXPECT_TRUE(tokenizer.decode(batch[1]) == large);
    }
  }
}

TEST(SentencePieceTokenizer, ATextInPartsIsTheSameIdsAsInOnePiece) {
  std::string large;
  while (large.size() < (std::size_t{18} << 20)) large += testing::small_text(60000) + "\r\n\n";
  for (const Tokenizer& tokenizer : {trained_bpe(), Tokenizer::byte_level()}) {
    std::string text;
    std::vector<std::int32_t> ids;
    std::size_t num_parts = 0;
    tokenizer.encode_in_parts(large,
                              [&](std::string_view part, std::span<const std::int32_t> some) {
                                ++num_parts;
                                text += part;
                                ids.insert(ids.end(), some.begin(), some.end());
                              });
    EXPECT_EQ(num_parts, 2U);
    EXPECT_TRUE(text == large);
    EXPECT_TRUE(ids == tokenizer.encode(large));
  }
}

TEST(SentencePieceTokenizer, ALongRunWithoutAnyCutStaysLossless) {
  std::string run;
  for (int i = 0; i < 700000; ++i) run += "th\xC3\xA9";  // 2.8 MB of one "word"
  const Tokenizer& tokenizer = trained_bpe();
  EXPECT_TRUE(tokenizer.decode(tokenizer.encode(run)) == run);
}

TEST(SentencePieceTokenizer, OtherSeparatorsStandInForAMissingEndPiece) {
  format::SentencePieceModel model =
      format::parse_sentencepiece_model(trained_bpe().serialized(), "x");
  const auto with_pieces = [&model](const std::string& begin, const std::string& end) {
    model.piece[1].text = begin;
    model.piece[2].text = end;
    return Tokenizer::from_sentencepiece(format::serialize_sentencepiece_model(model), "x");
  };
  EXPECT_EQ(with_pieces("[CLS]", "[SEP]").separator_id(), 2);
  EXPECT_EQ(with_pieces("<s>", "[MASK]").separator_id(), 1);
  EXPECT_FALSE(with_pieces("[CLS]", "[MASK]").separator_id().has_value());
}

TEST(TokenizerFile, WhatWasSavedLoadsWithTheSameHash) {
  const testing::TemporaryFolder folder;
  for (const Tokenizer& tokenizer : {Tokenizer::byte_level(), trained_bpe()}) {
    write_file_atomically(folder / tokenizer.file_name(), tokenizer.serialized());
    const Tokenizer loaded = Tokenizer::load(folder / tokenizer.file_name());
    EXPECT_EQ(loaded.hash(), tokenizer.hash());
    EXPECT_EQ(loaded.vocab_size(), tokenizer.vocab_size());
    EXPECT_EQ(loaded.encode("the word"), tokenizer.encode("the word"));
  }
  EXPECT_EQ(Tokenizer::load(folder.path()).hash(), trained_bpe().hash());
}

TEST(TokenizerFile, FilesThatAreNoTokenizerAreRefused) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW((void)Tokenizer::load(folder.path()), DataError);
  EXPECT_THROW((void)Tokenizer::load(folder / "absent.model"), StorageError);
  write_file_atomically(folder / "a.json", R"({"model": {"type": "BPE"}})");
  EXPECT_THAT([&] { (void)Tokenizer::load(folder / "a.json"); },
              ThrowsMessage<DataError>(HasSubstr("a.json")));
  write_file_atomically(folder / "b.model", "plain text");
  EXPECT_THAT([&] { (void)Tokenizer::load(folder / "b.model"); },
              ThrowsMessage<DataError>(HasSubstr("b.model")));
}

TEST(TokenizerFile, DamagedModelsAreRefusedOrEncodeButNeverCrash) {
  const std::string bytes = trained("bpe:310").serialized();
  const testing::Reader read = [](std::span<const std::byte> damaged) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(
        {reinterpret_cast<const char*>(damaged.data()), damaged.size()}, "x");
    (void)tokenizer.decode(tokenizer.encode("the quick\n brown \xC3\xA9"));
  };
  EXPECT_GT(testing::read_byte_flips(bytes, read, 37).refused, 0U);
}

TEST(TokenizerSpec, TheFourFormsAreParsedAndOthersRefused) {
  EXPECT_EQ(parse_tokenizer_spec("bytes").kind, TokenizerSpec::Kind::kBytes);
  EXPECT_EQ(parse_tokenizer_spec("bpe:2048").vocab_size, 2048);
  EXPECT_EQ(parse_tokenizer_spec("unigram:32000").kind, TokenizerSpec::Kind::kUnigram);
  const testing::TemporaryFolder folder;
  write_file_atomically(folder / "t.model", "x");
  EXPECT_EQ(parse_tokenizer_spec((folder / "t.model").string()).kind, TokenizerSpec::Kind::kFile);
  for (const char* bad : {"", "bpe", "bpe:", "bpe:12k", "bpe:299", "bpe:-5", "bpe:99999999999999",
                          "unigram:1000001", "absent.model", "wordpiece:100"}) {
    EXPECT_THROW((void)parse_tokenizer_spec(bad), UsageError) << bad;
  }
}

}  // namespace
}  // namespace switchyard::data
