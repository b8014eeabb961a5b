#include "switchyard/data/masking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace switchyard::data {
namespace {

using ::testing::ElementsAre;

constexpr std::int64_t kPieces = 1000;
constexpr SpecialTokens kSpecial = SpecialTokens::behind(kPieces);

// cls, n pieces, sep.
std::vector<std::int32_t> row_of(std::int32_t num_pieces) {
  std::vector<std::int32_t> row{kSpecial.cls};
  for (std::int32_t i = 0; i < num_pieces; ++i) row.push_back(i % 900);
  row.push_back(kSpecial.sep);
  return row;
}

MaskedTokens mask(const std::vector<std::int32_t>& row, const MaskingOptions& options,
                  std::int64_t sample, std::optional<std::int32_t> separator = {}) {
  return mask_tokens(row, {}, kSpecial, separator, options, sample);
}

TEST(WordStarts, OnlyATokensOwnSpaceSaysThatAWordBeginsWithIt) {
  const auto tokenizer = Tokenizer::byte_level();
  for (const char c : {' ', '\n', '\t', '\r'}) EXPECT_TRUE(begins_with_space(c, tokenizer));
  EXPECT_FALSE(begins_with_space('a', tokenizer));
  EXPECT_FALSE(begins_with_space(*tokenizer.separator_id(), tokenizer));
}

TEST(Masking, SpecialTokensComeBehindThePieces) {
  EXPECT_EQ(kSpecial.mask, 1000);
  EXPECT_EQ(kSpecial.cls, 1001);
  EXPECT_EQ(kSpecial.sep, 1002);
  EXPECT_EQ(kSpecial.num_pieces(), kPieces);
}

TEST(Masking, TakesTheShareOfTheTokensThatStandForText) {
  const std::vector<std::int32_t> row = row_of(126);
  for (const auto& [rate, count] :
       std::map<double, std::size_t>{{0.15, 19}, {0.2, 25}, {0.5, 63}, {0.001, 1}, {0.999, 126}}) {
    EXPECT_EQ(mask(row, {.rate = rate}, 5).position.size(), count) << rate;
  }
  EXPECT_EQ(mask(row_of(1), {.rate = 0.15}, 5).position.size(), 1U) << "one at least";
  EXPECT_TRUE(mask(row_of(0), {.rate = 0.15}, 5).position.empty()) << "no text";
}

TEST(Masking, NeverAsksForSpecialTokensOrSeparators) {
  constexpr std::int32_t kSeparator = 3;
  const std::vector<std::int32_t> row = row_of(20);
  for (std::int64_t sample = 0; sample < 200; ++sample) {
    const MaskedTokens masked = mask(row, {.rate = 0.5}, sample, kSeparator);
    for (std::size_t i = 0; i < masked.position.size(); ++i) {
      const auto position = static_cast<std::size_t>(masked.position[i]);
      EXPECT_LT(row[position], kPieces);
      EXPECT_NE(row[position], kSeparator);
      EXPECT_EQ(masked.label[i], row[position]);
    }
    EXPECT_EQ(masked.token.front(), kSpecial.cls);
    EXPECT_EQ(masked.token.back(), kSpecial.sep);
  }
}

TEST(Masking, LeavesAllOtherTokensAlone) {
  const std::vector<std::int32_t> row = row_of(60);
  const MaskedTokens masked = mask(row, {.rate = 0.3}, 11);
  const std::set<std::int64_t> taken(masked.position.begin(), masked.position.end());
  EXPECT_EQ(taken.size(), masked.position.size());
  EXPECT_TRUE(std::is_sorted(masked.position.begin(), masked.position.end()));
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (!taken.contains(static_cast<std::int64_t>(i))) {
      EXPECT_EQ(masked.token[i], row[i]);
    }
  }
}

// Of 20,000 tokens each share is within 5 standard deviations (at most 0.015).
TEST(Masking, MasksEightOfTenReplacesOneAndKeepsOne) {
  const std::vector<std::int32_t> row = row_of(100);
  double masked = 0;
  double kept = 0;
  double replaced = 0;
  std::set<std::int32_t> replacements;
  for (std::int64_t sample = 0; sample < 1000; ++sample) {
    const MaskedTokens result = mask(row, {.rate = 0.2}, sample);
    for (std::size_t i = 0; i < result.position.size(); ++i) {
      const std::int32_t seen = result.token[static_cast<std::size_t>(result.position[i])];
      if (seen == kSpecial.mask) {
        ++masked;
      } else if (seen == result.label[i]) {
        ++kept;
      } else {
        ++replaced;
        replacements.insert(seen);
      }
    }
  }
  EXPECT_EQ(masked + kept + replaced, 20000);
  EXPECT_NEAR(masked / 20000, 0.8, 0.015);
  EXPECT_NEAR(kept / 20000, 0.1, 0.015);
  EXPECT_NEAR(replaced / 20000, 0.1, 0.015);
  EXPECT_GT(replacements.size(), 700U) << "any piece";
  EXPECT_GE(*replacements.begin(), 0);
  EXPECT_LT(*replacements.rbegin(), kPieces);
}

TEST(Masking, IsAFunctionOfSeedAndNumberThatReachesEveryPosition) {
  const std::vector<std::int32_t> row = row_of(40);
  std::set<std::vector<std::int64_t>> different;
  std::vector<int> count(row.size());
  for (std::int64_t sample = 0; sample < 400; ++sample) {
    const MaskedTokens once = mask(row, {.rate = 0.15, .seed = 4}, sample);
    const MaskedTokens again = mask(row, {.rate = 0.15, .seed = 4}, sample);
    EXPECT_EQ(once.token, again.token);
    EXPECT_EQ(once.position, again.position);
    different.insert(once.position);
    for (const std::int64_t position : once.position) ++count[static_cast<std::size_t>(position)];
  }
  EXPECT_GT(different.size(), 395U);
  // 400 x 0.15 = 60 times each; five standard deviations are 36.
  for (std::size_t i = 1; i + 1 < row.size(); ++i) EXPECT_NEAR(count[i], 60, 36) << i;
  EXPECT_NE(mask(row, {.seed = 4}, 7).position, mask(row, {.seed = 5}, 7).position);
  EXPECT_NE(mask(row, {.seed = 4}, 7).position,
            mask(row, {.seed = 4}, 7 + (std::int64_t{1} << 32)).position);
}

TEST(Masking, KnowsWhereWordsOfBytesBegin) {
  const Tokenizer bytes = Tokenizer::byte_level();
  std::vector<std::int32_t> row{static_cast<std::int32_t>(bytes.vocab_size()) + 1};
  for (const char c : std::string("ab cd\n\ne")) row.push_back(c);
  //                    cls   a     b      ' '   c     d      \n    \n    e
  EXPECT_THAT(word_starts(row, bytes),
              ElementsAre(true, true, false, true, true, false, true, true, true));
}

TEST(Masking, TakesWholeWordsAsLongAsTheyFit) {
  // Words of 1 to 4 tokens between cls and sep.
  std::vector<std::int32_t> row{kSpecial.cls};
  std::vector<bool> starts{true};
  std::vector<std::size_t> word_of{0};
  std::size_t word = 0;
  for (const int length : {1, 4, 2, 3, 1, 2, 4, 3, 1, 1}) {
    ++word;
    for (int i = 0; i < length; ++i) {
      row.push_back(static_cast<std::int32_t>(row.size()));
      starts.push_back(i == 0);
      word_of.push_back(word);
    }
  }
  row.push_back(kSpecial.sep);
  starts.push_back(true);
  word_of.push_back(0);
  const MaskingOptions options{.rate = 0.25, .whole_words = true};  // of 22: 6
  for (std::int64_t sample = 0; sample < 300; ++sample) {
    const MaskedTokens masked = mask_tokens(row, starts, kSpecial, {}, options, sample);
    EXPECT_GE(masked.position.size(), 1U);
    EXPECT_LE(masked.position.size(), 6U);
    std::map<std::size_t, int> taken;
    for (const std::int64_t position : masked.position) {
      ++taken[word_of[static_cast<std::size_t>(position)]];
    }
    for (const auto& [index, count] : taken) {
      EXPECT_EQ(count, std::count(word_of.begin(), word_of.end(), index)) << "word " << index;
    }
  }
  // The first word is taken even if it alone is too long.
  const MaskedTokens tight =
      mask_tokens(row, starts, kSpecial, {}, {.rate = 0.01, .whole_words = true}, 1);
  EXPECT_GE(tight.position.size(), 1U);
}

}  // namespace
}  // namespace switchyard::data
