#include "switchyard/inference/token_difficulty.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "switchyard/inference/batching.h"

namespace switchyard::inference {
namespace {

using ::testing::ElementsAre;

constexpr std::int64_t kVocab = 257;

// One window of the text's bytes.
data::Sample window_of(const std::string& text) {
  data::Sample sample;
  for (const char c : text) sample.token.push_back(static_cast<unsigned char>(c));
  return sample;
}

TEST(LossBins, HoldEveryLossBetweenTheirEnds) {
  for (std::int64_t units = 0; units <= 65536; ++units) {
    const std::int64_t bin = loss_bin(units);
    const double nats = static_cast<double>(units) / kLossUnitsPerNat;
    ASSERT_GE(bin, 0);
    ASSERT_LT(bin, kLossBins);
    ASSERT_LE(loss_bin_begin(bin), nats * (1 + 1e-12)) << units;
    ASSERT_GE(loss_bin_begin(bin + 1), nats * (1 - 1e-12)) << units;
  }
  EXPECT_EQ(loss_units(1.0), 1024);
  EXPECT_EQ(loss_units(-1e-9), 0);  // rounding can make a loss of nothing negative
  EXPECT_EQ(loss_units(1e9), 65536);
}

TEST(PositionsInWord, CountThePiecesFromTheWordsBeginning) {
  const auto tokenizer = data::Tokenizer::byte_level();
  // The first window begins within a word for all that is known, the second after a separator, the
  // third with a space.
  data::Sample first = window_of("ab cde\nf.");
  data::Sample second = window_of("?abc  de.");
  second.token[0] = *tokenizer.separator_id();
  const std::vector<data::Sample> windows{first, second, window_of(" bc defg.")};
  const model::MicroBatch micro = make_batch(windows, {});
  EXPECT_THAT(positions_in_word(micro.batch, tokenizer), ElementsAre(0, 0, 1, 1, 2, 3, 1, 1,  //
                                                                     1, 1, 2, 3, 1, 1, 1, 2,  //
                                                                     1, 1, 2, 1, 1, 2, 3, 4));
}

class TokenDifficultyOfTwoLayers : public ::testing::Test {
 protected:
  // Losses and experts of "ab cdef", whose first two labels were counted before.
  TokenDifficultyOfTwoLayers() {
    const std::vector<data::Sample> windows{window_of("ab cdef")};
    batch_ = make_batch(windows, {.num_uncounted = {2}}).batch;
    losses_ = {.loss_T = at::tensor({9.0, 9.0, 1.0, 2.0, 0.0, 3.0}, at::kDouble),
               .num_experts_LT = at::tensor({4, 4, 1, 2, 0, 3,  //
                                             4, 4, 1, 1, 1, 4},
                                            at::kInt)
                                     .view({2, 6})};
  }

  const data::Tokenizer tokenizer_ = data::Tokenizer::byte_level();
  model::Batch batch_;
  TokenLosses losses_;
  TokenDifficulty counts_{kVocab, 4, {1, 3}};
};

TEST_F(TokenDifficultyOfTwoLayers, CountsExpertsBesideTheLossOfTheLabelAtTheirPosition) {
  counts_.add(batch_, losses_, tokenizer_);
  const TokenDifficulty::Losses losses = counts_.of_prediction();
  ASSERT_EQ(losses.experts.size(), 3U);
  const auto tokens = [&](std::size_t column, double nats, std::int64_t k) {
    const TokenDifficulty::Experts& experts = losses.experts[column];
    return experts
        .count_BK[static_cast<std::size_t>(loss_bin(loss_units(nats)) * experts.num_k + k)];
  };
  EXPECT_EQ(losses.experts[0].num_k, 5);
  EXPECT_EQ(losses.experts[2].num_k, 9);
  for (const auto& [column, nats, k] :
       std::vector<std::tuple<std::size_t, double, std::int64_t>>{{0, 1.0, 1},
                                                                  {0, 2.0, 2},
                                                                  {0, 0.0, 0},
                                                                  {0, 3.0, 3},
                                                                  {1, 2.0, 1},
                                                                  {1, 3.0, 4},
                                                                  {2, 1.0, 2},
                                                                  {2, 2.0, 3},
                                                                  {2, 0.0, 1},
                                                                  {2, 3.0, 7}}) {
    EXPECT_EQ(tokens(column, nats, k), 1) << column << ", " << nats << " nats";
  }
  for (const TokenDifficulty::Experts& experts : losses.experts) {
    EXPECT_EQ(std::reduce(experts.count_BK.begin(), experts.count_BK.end()), 4);
  }
  EXPECT_EQ(std::reduce(losses.units_B.begin(), losses.units_B.end()), 6 * 1024);
  EXPECT_EQ(losses.square_units, 14 * 1024 * 1024);
  EXPECT_EQ(losses.experts[0].units_times_k, (1 + 4 + 9) * 1024);
}

TEST_F(TokenDifficultyOfTwoLayers, SetsTheLossOfATokenItselfBesideTheExpertsOneLater) {
  counts_.add(batch_, losses_, tokenizer_);
  const TokenDifficulty::Losses losses = counts_.of_input();
  // Of the counted tokens' labels 'c', 'd', 'e' are tokens of the window; what ' ' costs was
  // counted before.
  EXPECT_EQ(std::reduce(losses.units_B.begin(), losses.units_B.end()), 3 * 1024);
  EXPECT_EQ(losses.experts[0].units_times_k, (1 * 2 + 2 * 0 + 0 * 3) * 1024);
  const auto& count = losses.experts[0].count_BK;
  EXPECT_EQ(std::reduce(count.begin(), count.end()), 3);
}

TEST_F(TokenDifficultyOfTwoLayers, GroupsTokensByTheirPlaceInTheWordAndByPiece) {
  counts_.add(batch_, losses_, tokenizer_);
  const TokenDifficulty::Groups words = counts_.by_word_position();
  EXPECT_THAT(words.num_tokens_G, ElementsAre(2, 1, 1, 0));  // ' ' and c, d, e
  EXPECT_THAT(words.units_G, ElementsAre(3 * 1024, 0, 3 * 1024, 0));
  EXPECT_THAT(words.num_rows_LG, ElementsAre(3, 0, 3, 0, 2, 1, 4, 0));
  // In both layers ' ' has 2 experts and c 3, d 1, e 7.
  EXPECT_THAT(words.square_k_G, ElementsAre(4 + 9, 1, 49, 0));
  EXPECT_THAT(words.square_units_G, ElementsAre(5 << 20, 0, 9 << 20, 0));
  EXPECT_THAT(words.units_times_k_G, ElementsAre((1 * 2 + 2 * 3) << 10, 0, (3 * 7) << 10, 0));
  const TokenDifficulty::Groups pieces = counts_.by_piece();
  ASSERT_EQ(std::ssize(pieces.num_tokens_G), kVocab);
  EXPECT_EQ(pieces.num_tokens_G['e'], 1);
  EXPECT_EQ(pieces.num_rows_LG[kVocab + 'e'], 4);
  EXPECT_EQ(pieces.num_tokens_G['b'], 0) << "its label does not count";
  EXPECT_EQ(pieces.num_tokens_G['f'], 0) << "it predicts nothing";
}

TEST_F(TokenDifficultyOfTwoLayers, LeavesTokensOutWhoseLossIsNotFinite) {
  losses_.loss_T[3].fill_(std::numeric_limits<double>::quiet_NaN());
  counts_.add(batch_, losses_, tokenizer_);
  const auto count = counts_.of_prediction().experts[0].count_BK;
  EXPECT_EQ(std::reduce(count.begin(), count.end()), 3);
  const auto inputs = counts_.of_input().experts[0].count_BK;
  EXPECT_EQ(std::reduce(inputs.begin(), inputs.end()),
            1);  // e; 'd' has none, what 'd' costs is NaN
}

TEST(TokenDifficultyWithoutExperts, CountsNothing) {
  TokenDifficulty counts(kVocab, 0, {});
  const std::vector<data::Sample> windows{window_of("abc")};
  const model::Batch batch = make_batch(windows, {}).batch;
  counts.add(batch,
             {.loss_T = at::tensor({1.0, 1.0}), .num_experts_LT = at::empty({0, 2}, at::kInt)},
             data::Tokenizer::byte_level());
  EXPECT_TRUE(counts.of_prediction().experts.empty());
  EXPECT_TRUE(counts.by_piece().num_tokens_G.empty());
}

}  // namespace
}  // namespace switchyard::inference
