#include "switchyard/glue/paired_tests.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "switchyard/core/philox.h"

namespace switchyard::glue {
namespace {

// Differences of ratios of counts carry rounding of about 1e-16; those that are none by count are
// never so near.
constexpr double kSame = 1e-12;

// Twice the rank by size of each, from 1, so that the means of ties are whole numbers as well.
std::vector<std::size_t> doubled_ranks(const std::vector<double>& differences) {
  std::vector<std::size_t> order(differences.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto size = [&](std::size_t i) { return std::abs(differences[i]); };
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return size(a) < size(b); });
  std::vector<std::size_t> ranks(differences.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && size(order[end]) - size(order[begin]) <= kSame) ++end;
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = begin + 1 + end;
    begin = end;
  }
  return ranks;
}

// The chance of every sum of those ranks that have a plus, when each sign is as likely.
std::vector<double> chances_of_sums(const std::vector<std::size_t>& ranks) {
  std::vector<double> chance{1.0};
  for (const std::size_t rank : ranks) {
    std::vector<double> next(chance.size() + rank, 0.0);
    for (std::size_t sum = 0; sum < chance.size(); ++sum) {
      next[sum] += 0.5 * chance[sum];
      next[sum + rank] += 0.5 * chance[sum];
    }
    chance = std::move(next);
  }
  return chance;
}

double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

// Of one draw of as many as there are.
double resampled_mean(std::span<const double> values, std::uint32_t resample) {
  const PhiloxKey key = philox_key(kResamplingSeed);
  PhiloxCounter words{};
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % words.size() == 0) {
      words = philox(key, {static_cast<std::uint32_t>(i / words.size()), resample, 0, 0});
    }
    sum += values[(std::uint64_t{words[i % words.size()]} * values.size()) >> 32U];
  }
  return sum / static_cast<double>(values.size());
}

}  // namespace

WilcoxonTest wilcoxon_signed_rank(std::span<const double> differences) {
  std::vector<double> pairs(differences.begin(), differences.end());
  std::erase_if(pairs, [](double difference) { return std::abs(difference) <= kSame; });
  const std::vector<std::size_t> ranks = doubled_ranks(pairs);
  std::size_t positive = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) positive += pairs[i] > 0.0 ? ranks[i] : 0;
  const std::vector<double> chance = chances_of_sums(ranks);
  const auto at = chance.begin() + static_cast<std::ptrdiff_t>(positive);
  const double at_most = std::accumulate(chance.begin(), at + 1, 0.0);
  const double at_least = std::accumulate(at, chance.end(), 0.0);
  const auto num_pairs = static_cast<int>(pairs.size());
  return {.num_pairs = num_pairs,
          .positive_rank_sum = 0.5 * static_cast<double>(positive),
          .p = std::min(1.0, 2.0 * std::min(at_most, at_least)),
          .least_p = std::min(1.0, std::ldexp(2.0, -num_pairs))};
}

std::optional<Interval> bootstrap_interval(std::span<const double> differences) {
  if (differences.size() < 2) return std::nullopt;
  std::vector<double> means;
  means.reserve(static_cast<std::size_t>(kNumResamples));
  for (std::int64_t i = 0; i < kNumResamples; ++i) {
    means.push_back(resampled_mean(differences, static_cast<std::uint32_t>(i)));
  }
  std::sort(means.begin(), means.end());
  return Interval{.low = quantile(means, 0.5 * (1.0 - kConfidence)),
                  .high = quantile(means, 0.5 * (1.0 + kConfidence))};
}

}  // namespace switchyard::glue
