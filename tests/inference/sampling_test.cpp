#include "switchyard/inference/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::inference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Probabilities 0.1, 0.4, 0.2, 0.3.
const std::vector<double> kLogits = {std::log(0.1), std::log(0.4), std::log(0.2), std::log(0.3)};

std::map<std::int32_t, double> frequencies(const SamplingOptions& options, int num_draws) {
  std::map<std::int32_t, double> result;
  for (int draw = 0; draw < num_draws; ++draw) {
    result[choose_token(kLogits, options, static_cast<std::uint64_t>(draw))] += 1.0 / num_draws;
  }
  return result;
}

TEST(ChooseToken, TemperatureZeroTakesTheMostProbableAndTheLowerIdOfATie) {
  EXPECT_EQ(choose_token(kLogits, {.temperature = 0.0}, 5), 1);
  EXPECT_EQ(choose_token(std::vector<double>{1.0, 3.0, 3.0}, {.temperature = 0.0}, 0), 1);
}

TEST(ChooseToken, DrawsWithTheModelsProbabilities) {
  const auto share = frequencies({.temperature = 1.0, .seed = 3}, 20000);
  EXPECT_NEAR(share.at(0), 0.1, 0.015);
  EXPECT_NEAR(share.at(1), 0.4, 0.015);
  EXPECT_NEAR(share.at(2), 0.2, 0.015);
  EXPECT_NEAR(share.at(3), 0.3, 0.015);
}

TEST(ChooseToken, TemperatureSharpens) {
  // Squares of the probabilities: 0.01 0.16 0.04 0.09 of 0.3.
  const auto share = frequencies({.temperature = 0.5, .seed = 3}, 20000);
  EXPECT_NEAR(share.at(1), 0.16 / 0.3, 0.015);
  EXPECT_NEAR(share.at(0), 0.01 / 0.3, 0.015);
}

TEST(ChooseToken, TopKKeepsTheMostProbable) {
  const auto share = frequencies({.temperature = 1.0, .top_k = 2}, 5000);
  EXPECT_EQ(share.size(), 2U);
  EXPECT_NEAR(share.at(1), 4.0 / 7.0, 0.03);
  EXPECT_NEAR(share.at(3), 3.0 / 7.0, 0.03);
}

TEST(ChooseToken, NucleusKeepsTheFewestThatReachTheShare) {
  const auto share = frequencies({.temperature = 1.0, .nucleus = 0.65}, 5000);
  EXPECT_EQ(share.size(), 2U);  // 0.4 + 0.3
  EXPECT_EQ(frequencies({.temperature = 1.0, .nucleus = 0.75}, 5000).size(), 3U);
  EXPECT_EQ(frequencies({.temperature = 1.0, .nucleus = 1e-9}, 100).size(), 1U);
}

TEST(ChooseToken, IsAPureFunctionOfSeedAndDraw) {
  std::vector<std::int32_t> first;
  std::vector<std::int32_t> again;
  std::vector<std::int32_t> other_seed;
  for (std::uint64_t draw = 0; draw < 50; ++draw) {
    first.push_back(choose_token(kLogits, {.temperature = 1.0, .seed = 1}, draw));
    again.push_back(choose_token(kLogits, {.temperature = 1.0, .seed = 1}, draw));
    other_seed.push_back(choose_token(kLogits, {.temperature = 1.0, .seed = 2}, draw));
  }
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other_seed);
}

TEST(ChooseToken, NeverTakesAForbiddenToken) {
  const std::vector<double> logits = {-kInfinity, 0.0, -kInfinity, 0.0};
  for (std::uint64_t draw = 0; draw < 200; ++draw) {
    EXPECT_THAT(choose_token(logits, {.temperature = 1.0, .top_k = 3}, draw),
                ::testing::AnyOf(1, 3));
  }
}

TEST(ChooseToken, OutputThatIsNotFiniteIsAnError) {
  EXPECT_THROW((void)choose_token(std::vector<double>{0.0, std::nan("")}, {}, 0), NonFiniteError);
  EXPECT_THROW((void)choose_token(std::vector<double>{0.0, kInfinity}, {}, 0), NonFiniteError);
  EXPECT_THROW((void)choose_token(std::vector<double>{-kInfinity, -kInfinity}, {}, 0),
               NonFiniteError);
}

}  // namespace
}  // namespace switchyard::inference
