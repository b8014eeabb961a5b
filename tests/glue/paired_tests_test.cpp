// Against tables, hand counts and enumerations of all draws.
#include "switchyard/glue/paired_tests.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace switchyard::glue {
namespace {

TEST(Wilcoxon, OfDifferencesThatAllHaveOneSignHasTheLeastPossibleP) {
  // n = 5: one of 2^5 signs is as extreme on either side: 2/32.
  const WilcoxonTest test = wilcoxon_signed_rank(std::vector{0.1, 0.4, 0.2, 0.3, 0.5});
  EXPECT_EQ(test.num_pairs, 5);
  EXPECT_EQ(test.positive_rank_sum, 15.0);
  EXPECT_DOUBLE_EQ(test.p, 0.0625);
  EXPECT_DOUBLE_EQ(test.least_p, 0.0625);
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(std::vector{-1.0, -2.0, -3.0}).p, 0.25);
}

TEST(Wilcoxon, CountsSignsByHand) {
  // Ranks 1 to 4, of which -1 has the least: W+ = 9. Of the 16 sums of signs, 9 and 10 are at least
  // as large (10 = 1+2+3+4, 9 = 2+3+4): p = 2 * 2/16.
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(std::vector{-1.0, 2.0, 3.0, 4.0}).p, 0.25);
  // W+ = 5 = W-: the middle, 1.
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(std::vector{1.0, -2.0, -3.0, 4.0}).p, 1.0);
}

TEST(Wilcoxon, AgreesWithTheExampleOfScipysDocumentation) {
  // Heights of 15 pairs of maize, crossed minus self-fertilised (Darwin, 1876): W- = 24 of 120. The
  // documentation of scipy.stats.wilcoxon gives p = 0.041259765625; counted apart from this code:
  // 676 of the 2^15 signs have a sum of at least 96, and 2 * 676 / 2^15 is that number.
  const std::vector<double> differences{49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48};
  const WilcoxonTest test = wilcoxon_signed_rank(differences);
  EXPECT_EQ(test.num_pairs, 15);
  EXPECT_EQ(test.positive_rank_sum, 96.0);
  EXPECT_NEAR(test.p, 0.041259765625, 1e-15);
}

// By trying all signs of the ranks, with midranks computed by counting.
double p_by_enumeration(const std::vector<double>& differences) {
  std::vector<double> rank;
  double observed = 0.0;
  for (const double d : differences) {
    double below = 0.0;
    double same = 0.0;
    for (const double other : differences) {
      below += std::abs(other) < std::abs(d) ? 1.0 : 0.0;
      same += std::abs(other) == std::abs(d) ? 1.0 : 0.0;
    }
    rank.push_back(below + (same + 1.0) / 2.0);
    if (d > 0.0) observed += rank.back();
  }
  double total = 0.0;
  for (const double r : rank) total += r;
  double extreme = 0.0;
  const unsigned num_signs = 1U << differences.size();
  for (unsigned signs = 0; signs < num_signs; ++signs) {
    double sum = 0.0;
    for (std::size_t i = 0; i < rank.size(); ++i) sum += (signs >> i & 1U) != 0 ? rank[i] : 0.0;
    if (std::abs(sum - total / 2.0) >= std::abs(observed - total / 2.0)) extreme += 1.0;
  }
  return extreme / num_signs;
}

TEST(Wilcoxon, TiesShareTheirRanksAndStayExact) {
  for (const std::vector<double>& differences :
       {std::vector{1.0, 1.0, -1.0, 2.0}, std::vector{0.5, -0.5, 0.5, 0.5, 3.0, -2.0, 2.0},
        std::vector{1.0, 1.0, 1.0, 1.0, 1.0, 1.0}, std::vector{-1.0, -1.0, 2.0, 2.0, 2.0, 3.0}}) {
    EXPECT_NEAR(wilcoxon_signed_rank(differences).p, p_by_enumeration(differences), 1e-15);
  }
}

// Right answers out of 277, as RTE has rows: all differences are of two rows, but as ratios they
// differ by rounding.
TEST(Wilcoxon, CountsThatAreEqualTieWhateverTheRoundingOfTheirRatios) {
  std::vector<double> differences;
  for (const auto& [left, right] : std::vector<std::pair<double, double>>{
           {159, 157}, {159, 157}, {152, 154}, {162, 160}, {163, 165}, {165, 167}, {159, 157}}) {
    differences.push_back(right / 277.0 - left / 277.0);
  }
  EXPECT_EQ(wilcoxon_signed_rank(differences).positive_rank_sum, 12.0);
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(differences).p, 1.0);
  // Of means over tasks, which are a sum: none, by count.
  EXPECT_EQ(wilcoxon_signed_rank(std::vector{0.1 + 0.2 - 0.3, 0.5}).num_pairs, 1);
}

TEST(Wilcoxon, ZerosAreLeftOut) {
  const WilcoxonTest test = wilcoxon_signed_rank(std::vector{0.0, 1.0, 2.0, 0.0, 3.0});
  EXPECT_EQ(test.num_pairs, 3);
  EXPECT_DOUBLE_EQ(test.p, 0.25);
  EXPECT_DOUBLE_EQ(test.least_p, 0.25);
  const WilcoxonTest nothing = wilcoxon_signed_rank(std::vector{0.0, 0.0});
  EXPECT_EQ(nothing.num_pairs, 0);
  EXPECT_EQ(nothing.p, 1.0);
  EXPECT_EQ(nothing.least_p, 1.0);
}

TEST(Wilcoxon, StaysExactForAHundredSeeds) {
  const std::vector<double> up(100, 1.0);  // all tied, all of one sign
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(up).p, std::ldexp(2.0, -100));
  std::vector<double> uneven;
  for (int i = 1; i <= 100; ++i) uneven.push_back(i % 3 == 0 ? -i : i);
  // Counted apart from this code, in whole numbers: of the 2^100 signs, twice those whose sum is at
  // least this one. The normal approximation says 0.0038.
  const WilcoxonTest test = wilcoxon_signed_rank(uneven);
  EXPECT_EQ(test.positive_rank_sum, 3367.0);
  EXPECT_NEAR(test.p, 0.003526003801650493, 1e-14);
}

// The quantiles of all n^n draws, each as likely.
Interval interval_by_enumeration(const std::vector<double>& values) {
  std::vector<double> means{0.0};
  for (std::size_t draw = 0; draw < values.size(); ++draw) {
    std::vector<double> next;
    for (const double sum : means) {
      for (const double value : values) next.push_back(sum + value);
    }
    means = std::move(next);
  }
  std::sort(means.begin(), means.end());
  const auto num_draws = static_cast<double>(means.size());
  const auto at = [&](double share) {
    return means[static_cast<std::size_t>(share * (num_draws - 1.0))] /
           static_cast<double>(values.size());
  };
  return {.low = at(0.025), .high = at(0.975)};
}

TEST(Bootstrap, OfTwoSeedsReachesFromOneToTheOther) {
  // The mean of a draw is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4.
  const auto interval = bootstrap_interval(std::vector{0.0, 1.0});
  EXPECT_EQ(interval->low, 0.0);
  EXPECT_EQ(interval->high, 1.0);
}

TEST(Bootstrap, IsNearTheQuantilesOfAllDraws) {
  // 5^5 and 6^6 draws. Of 10,000 drawn ones a quantile at 0.025 is off by 0.0016 (one standard
  // deviation), so it lies between those at 0.020 and 0.030, which are within 0.025 of it.
  for (const std::vector<double>& values :
       {std::vector{0.1, -0.2, 0.45, 0.3, 0.05}, std::vector{1.0, 0.2, 0.4, 0.35, -0.1, 0.6}}) {
    const Interval expected = interval_by_enumeration(values);
    const auto interval = bootstrap_interval(values);
    EXPECT_NEAR(interval->low, expected.low, 0.025);
    EXPECT_NEAR(interval->high, expected.high, 0.025);
  }
}

TEST(Bootstrap, IsTheSameEveryTimeAndNoneOfOneSeed) {
  const std::vector<double> values{0.1, -0.2, 0.45, 0.3, 0.05};
  const auto once = bootstrap_interval(values);
  const auto again = bootstrap_interval(values);
  EXPECT_EQ(once->low, again->low);
  EXPECT_EQ(once->high, again->high);
  EXPECT_FALSE(bootstrap_interval(std::vector{0.5}).has_value());
  EXPECT_FALSE(bootstrap_interval(std::vector<double>{}).has_value());
}

}  // namespace
}  // namespace switchyard::glue
