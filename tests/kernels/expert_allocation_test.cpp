#include "switchyard/kernels/expert_allocation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

namespace switchyard::kernels {
namespace {

struct Case {
  std::vector<double> importance_T;
  std::vector<char> valid_T;  // empty: all valid
  std::vector<std::int32_t> sequence_offset_B1;
  double k_mean = 2.0;
  std::int64_t k_min = 1;
  std::int64_t k_max = 8;
  AllocationRule rule = AllocationRule::proportional;

  [[nodiscard]] bool is_valid(std::size_t t) const { return valid_T.empty() || valid_T[t] != 0; }
};

Case one_sequence(std::vector<double> importance_T) {
  Case c;
  c.sequence_offset_B1 = {0, static_cast<std::int32_t>(importance_T.size())};
  c.importance_T = std::move(importance_T);
  return c;
}

std::vector<std::int32_t> run(const Case& c) {
  const std::size_t num_tokens = c.importance_T.size();
  const std::unique_ptr<bool[]> valid(new bool[num_tokens + 1]);
  for (std::size_t t = 0; t < num_tokens; ++t) valid[t] = c.is_valid(t);
  std::vector<std::int32_t> k_T(num_tokens, -7);
  cpu::expert_allocation(ExpertAllocationParams<double>{
      .num_tokens = static_cast<std::int64_t>(num_tokens),
      .num_sequences = static_cast<std::int64_t>(c.sequence_offset_B1.size()) - 1,
      .importance_T = c.importance_T.data(),
      .valid_T = c.valid_T.empty() ? nullptr : valid.get(),
      .sequence_offset_B1 = c.sequence_offset_B1.data(),
      .k_mean = c.k_mean,
      .k_min = c.k_min,
      .k_max = c.k_max,
      .rule = c.rule,
      .k_T = k_T.data()});
  return k_T;
}

// The budget rule as it is written down: scan the whole sequence for each single correction.
std::vector<std::int32_t> budget_by_scanning(const Case& c) {
  std::vector<std::int32_t> k_T(c.importance_T.size(), 0);
  for (std::size_t b = 0; b + 1 < c.sequence_offset_B1.size(); ++b) {
    std::vector<std::size_t> tokens;
    std::int64_t sum = 0;
    for (auto t = static_cast<std::size_t>(c.sequence_offset_B1[b]);
         t < static_cast<std::size_t>(c.sequence_offset_B1[b + 1]); ++t) {
      if (!c.is_valid(t)) continue;
      tokens.push_back(t);
      k_T[t] = static_cast<std::int32_t>(std::clamp(std::floor(c.k_mean * c.importance_T[t]),
                                                    static_cast<double>(c.k_min),
                                                    static_cast<double>(c.k_max)));
      sum += k_T[t];
    }
    const auto n = static_cast<std::int64_t>(tokens.size());
    const std::int64_t budget =
        std::clamp(static_cast<std::int64_t>(std::nearbyint(c.k_mean * static_cast<double>(n))),
                   n * c.k_min, n * c.k_max);
    const auto remainder = [&](std::size_t t) { return c.k_mean * c.importance_T[t] - k_T[t]; };
    while (sum < budget) {
      std::size_t best = c.importance_T.size();
      for (const std::size_t t : tokens) {
        if (k_T[t] >= c.k_max) continue;
        if (best == c.importance_T.size() || remainder(t) > remainder(best)) best = t;
      }
      ++k_T[best];
      ++sum;
    }
    while (sum > budget) {
      std::size_t best = c.importance_T.size();
      for (const std::size_t t : tokens) {
        if (k_T[t] <= c.k_min) continue;
        if (best == c.importance_T.size() || remainder(t) <= remainder(best)) best = t;
      }
      --k_T[best];
      --sum;
    }
  }
  return k_T;
}

TEST(ExpertAllocation, RoundsHalvesToEvenAndClampsInProportion) {
  auto c = one_sequence({0.25, 0.75, 1.0, 1.25, 1.75, 0.0, 100.0, 1.3});
  c.k_max = 5;  // 2 a: 0.5, 1.5, 2, 2.5, 3.5, 0, 200, 2.6
  EXPECT_EQ(run(c), (std::vector<std::int32_t>{1, 2, 2, 2, 4, 1, 5, 3}));
}

TEST(ExpertAllocation, RoundsUpWhateverTheMean) {
  auto c = one_sequence({0.0, 0.001, 0.125, 0.126, 0.5, 0.99, 1.0});
  c.rule = AllocationRule::ceiling;
  c.k_mean = 8.0;  // the number of experts
  c.k_max = 7;
  EXPECT_EQ(run(c), (std::vector<std::int32_t>{1, 1, 1, 2, 4, 7, 7}));
}

TEST(ExpertAllocation, GivesPaddingNothing) {
  for (const auto rule :
       {AllocationRule::proportional, AllocationRule::budget, AllocationRule::ceiling}) {
    auto c = one_sequence({1.0, 9.0, 1.0});
    c.valid_T = {1, 0, 1};
    c.rule = rule;
    EXPECT_EQ(run(c), (std::vector<std::int32_t>{2, 0, 2}));
  }
}

TEST(ExpertAllocation, StaysInRangeForAnyBits) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const auto rule :
       {AllocationRule::proportional, AllocationRule::budget, AllocationRule::ceiling}) {
    auto c =
        one_sequence({std::numeric_limits<double>::quiet_NaN(), kInf, -kInf, 1e300, -1e300, 1.0});
    c.k_max = 4;
    c.rule = rule;
    const auto k_T = run(c);
    for (const auto k : k_T) {
      EXPECT_GE(k, 1);
      EXPECT_LE(k, 4);
    }
    if (rule == AllocationRule::budget) {
      EXPECT_EQ(std::accumulate(k_T.begin(), k_T.end(), 0), 12);
    } else {
      EXPECT_EQ(k_T, (std::vector<std::int32_t>{1, 4, 1, 4, 1, 2}));
    }
  }
}

TEST(ExpertAllocation, SpendsTheBudgetByLargestRemainder) {
  auto c = one_sequence({0.7, 1.3, 1.05});  // q: 1.4, 2.6, 2.1 -> 1, 2, 2; budget 6
  c.rule = AllocationRule::budget;
  EXPECT_EQ(run(c), (std::vector<std::int32_t>{1, 3, 2}));
}

TEST(ExpertAllocation, BreaksTiesTowardsLowerPositionsUpAndHigherPositionsDown) {
  auto up =
      one_sequence({0.75, 0.75, 0.75, 1.75});  // q: 1.5, 1.5, 1.5, 3.5 -> 1, 1, 1, 3; budget 8
  up.rule = AllocationRule::budget;
  EXPECT_EQ(run(up), (std::vector<std::int32_t>{2, 2, 1, 3}));
  auto down = one_sequence({1.5, 1.5, 1.5, 0.0});  // q: 3, 3, 3, 0 -> 3, 3, 3, 1; budget 8
  down.rule = AllocationRule::budget;
  EXPECT_EQ(run(down), (std::vector<std::int32_t>{3, 2, 2, 1}));
}

TEST(ExpertAllocation, EqualsTheRuleCarriedOutByScanning) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0.0, 2.5);
  for (int trial = 0; trial < 60; ++trial) {
    Case c;
    c.rule = AllocationRule::budget;
    c.k_min = static_cast<std::int64_t>(random() % 2);
    c.k_max = c.k_min + 1 + static_cast<std::int64_t>(random() % 7);
    c.k_mean = static_cast<double>(c.k_min) +
               uniform(random) / 2.5 * static_cast<double>(c.k_max - c.k_min);
    c.sequence_offset_B1 = {0};
    for (int b = 0; b < 3; ++b) {
      c.sequence_offset_B1.push_back(c.sequence_offset_B1.back() +
                                     static_cast<std::int32_t>(random() % 50));
    }
    for (std::int32_t t = 0; t < c.sequence_offset_B1.back(); ++t) {
      const double a = uniform(random);
      c.importance_T.push_back(trial % 2 == 0 ? a : std::round(4 * a) / 4);
      if (trial % 3 == 0) c.valid_T.push_back(random() % 4 != 0 ? 1 : 0);
    }
    EXPECT_EQ(run(c), budget_by_scanning(c)) << "trial " << trial;
  }
}

}  // namespace
}  // namespace switchyard::kernels
