// Is one of two models better over the same seeds? Tests of paired differences, one per seed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace switchyard::glue {

struct WilcoxonTest {
  std::int64_t num_pairs = 0;      // that differ: n
  double positive_rank_sum = 0.0;  // of the differences above 0
  double p = 1.0;                  // two-sided, exact
  double least_p = 1.0;            // that n pairs can have: 2 / 2^n, at most 1
};
// The signed-rank test (Wilcoxon, "Individual Comparisons by Ranking Methods", 1945). Differences
// of 0 are left out, equal ones share the mean of their ranks, and p counts all 2^n signs that
// these ranks may have, however many there are: nothing is approximated. What is within 1e-12 is
// equal, as rounding makes it of equal counts. `differences` are finite.
[[nodiscard]] WilcoxonTest wilcoxon_signed_rank(std::span<const double> differences);

struct Interval {
  double low = 0.0;
  double high = 0.0;
};
inline constexpr std::int64_t kNumResamples = 10'000;
inline constexpr std::uint64_t kResamplingSeed = 1;
inline constexpr double kConfidence = 0.95;
// The percentile bootstrap (Efron, 1979) of the mean difference: kNumResamples draws of as many
// seeds with replacement, always the same ones, and of their means what lies between the quantiles
// (1 -+ kConfidence) / 2, on straight lines between neighbours (numpy.quantile). Of few seeds it is
// narrower than it should be. None of fewer than two.
[[nodiscard]] std::optional<Interval> bootstrap_interval(std::span<const double> differences);

}  // namespace switchyard::glue
