// Against numbers that scikit-learn 1.8 and SciPy 1.16 gave.
#include "switchyard/glue/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace switchyard::glue {
namespace {

using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr double kTight = 1e-12;
const std::vector<double> kSaid{1, 0, 1, 1, 0, 1, 0, 0, 1, 1};
const std::vector<double> kTrue{1, 0, 0, 1, 0, 1, 1, 0, 1, 0};
// With ties on both sides.
const std::vector<double> kScores{2.5, 0.1, 4.8, 3.3, 3.3, 1.9, 0.1, 5.0};
const std::vector<double> kGold{3.0, 0.4, 5.0, 2.8, 3.0, 1.0, 0.4, 4.2};

TEST(Metrics, OfTwoClasses) {
  EXPECT_NEAR(accuracy(kSaid, kTrue), 0.7, kTight);
  EXPECT_NEAR(f1(kSaid, kTrue), 0.7272727272727273, kTight);
  EXPECT_NEAR(matthews_correlation(kSaid, kTrue), 0.408248290463863, kTight);
}

TEST(Metrics, MatthewsOfThreeClasses) {
  EXPECT_NEAR(matthews_correlation(std::vector<double>{0, 1, 2, 2, 1, 0, 0, 2, 1, 1},
                                   std::vector<double>{0, 1, 2, 1, 1, 0, 2, 2, 0, 1}),
              0.5454545454545454, kTight);
}

TEST(Metrics, OfScoresWithTies) {
  EXPECT_NEAR(pearson(kScores, kGold), 0.9574836452805962, kTight);
  EXPECT_NEAR(spearmanr(kScores, kGold), 0.9207317073170732, kTight);
}

TEST(Metrics, OneClassIsNoCorrelationAndNoScore) {
  const std::vector<double> zeros{0, 0, 0};
  const std::vector<double> ones{1, 1, 1};
  const std::vector<double> mixed{0, 1, 1};
  EXPECT_EQ(f1(zeros, zeros), 0.0);
  EXPECT_EQ(f1(zeros, mixed), 0.0);
  EXPECT_EQ(matthews_correlation(ones, mixed), 0.0);
  EXPECT_EQ(matthews_correlation(mixed, zeros), 0.0);
  EXPECT_TRUE(std::isnan(pearson(ones, mixed)));
  EXPECT_TRUE(std::isnan(spearmanr(mixed, zeros)));
  std::vector<double> diverged(mixed.begin(), mixed.end());
  diverged[1] = std::nan("");
  EXPECT_TRUE(std::isnan(spearmanr(diverged, mixed))) << "what is no number has no rank";
}

TEST(Metrics, PerfectIsOneAndTheOppositeMinusOne) {
  std::vector<double> opposite;
  for (const double label : kTrue) opposite.push_back(1.0 - label);
  EXPECT_EQ(matthews_correlation(kTrue, kTrue), 1.0);
  EXPECT_EQ(matthews_correlation(opposite, kTrue), -1.0);
  EXPECT_EQ(f1(kTrue, kTrue), 1.0);
  std::vector<double> falling;
  for (const double score : kGold) falling.push_back(7.0 - 3.0 * score);
  EXPECT_NEAR(pearson(falling, kGold), -1.0, kTight);
  EXPECT_GE(pearson(falling, kGold), -1.0);
  EXPECT_NEAR(spearmanr(falling, kGold), -1.0, kTight);
}

TEST(Metrics, RanksAloneDecideSpearman) {
  std::vector<double> stretched;
  for (const double score : kScores) stretched.push_back(std::exp(3.0 * score));
  EXPECT_NEAR(spearmanr(stretched, kGold), 0.9207317073170732, kTight);
  EXPECT_LT(pearson(stretched, kGold), 0.9);
}

TEST(Metrics, ATaskHasItsOwnAndTheirMeanWhereThereAreTwo) {
  const Task& mrpc = *parse_tasks("mrpc").front();
  EXPECT_THAT(metrics_of(mrpc, kSaid, kTrue),
              UnorderedElementsAre(
                  Pair("accuracy", 0.7), Pair("f1", ::testing::DoubleNear(8.0 / 11.0, kTight)),
                  Pair("combined_score", ::testing::DoubleNear(0.35 + 4.0 / 11.0, kTight))));
  const Task& cola = *parse_tasks("cola").front();
  EXPECT_THAT(metrics_of(cola, kSaid, kTrue),
              UnorderedElementsAre(
                  Pair("matthews_correlation", ::testing::DoubleNear(0.408248290463863, kTight))));
}

}  // namespace
}  // namespace switchyard::glue
