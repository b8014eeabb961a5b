#include "switchyard/kernels/top_p_route.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "kernels/route_reference.h"
#include "switchyard/core/parallel.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class TopPRoute : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TopPRoute, Types);

// The shortest prefix that reaches p, up to the rounding of a sum of probabilities in T.
template <typename T>
CountCheck shortest_prefix(double p, std::int64_t max_experts) {
  return [=](std::int64_t t, std::int64_t count, const std::vector<std::int32_t>& order,
             const std::vector<double>& probs) {
    const auto num_experts = static_cast<std::int64_t>(probs.size());
    if (std::isnan(probs.front())) {
      EXPECT_EQ(count, p == 1.0 ? std::min(num_experts, max_experts) : 1) << "token " << t;
      return;
    }
    const double slack = (sizeof(T) == 4 ? 2e-6 : 1e-14);
    EXPECT_GE(count, 1);
    EXPECT_LE(count, max_experts);
    double cumulative = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      EXPECT_TRUE(p == 1.0 || cumulative < p + slack) << "token " << t << " has too many experts";
      cumulative += probs[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])];
    }
    EXPECT_TRUE((p < 1.0 && cumulative > p - slack) || count == std::min(num_experts, max_experts))
        << "token " << t << " has too few experts";
  };
}

TYPED_TEST(TopPRoute, MatchesTheDefinitionOnRandomAndExtremeLogits) {
  std::mt19937 random(1);
  for (const std::int64_t num_experts : {1, 2, 3, 8, 16, 33, 256}) {
    for (const double p : {1e-30, 0.1, 0.4, 0.7, 0.999, 1.0}) {
      for (const bool extremes : {false, true}) {
        auto input = random_route_input<TypeParam>(random, num_experts, p < 0.5 ? 1.0 : 4.0);
        if (extremes) add_extreme_values(input, random);
        const std::int64_t max_experts =
            random() % 2 == 0
                ? num_experts
                : static_cast<std::int64_t>(random() % static_cast<unsigned long>(num_experts)) + 1;
        expect_route(input, run_top_p(input, p, max_experts),
                     shortest_prefix<TypeParam>(p, max_experts));
        if (::testing::Test::HasFailure()) {
          FAIL() << "E = " << num_experts << ", p = " << p << ", extremes = " << extremes
                 << ", max_experts = " << max_experts;
        }
      }
    }
  }
}

TYPED_TEST(TopPRoute, CutsFourEqualLogitsExactlyAtTheBoundary) {
  const auto input = one_sequence<TypeParam>(4, std::vector<TypeParam>(4, TypeParam{0.375}));
  const auto count = [&](TypeParam p) {
    return run_top_p(input, static_cast<double>(p)).row_token_N.size();
  };
  const TypeParam half = TypeParam{0.5};
  EXPECT_EQ(count(std::nextafter(half, TypeParam{0})), 2U);
  EXPECT_EQ(count(half), 2U);
  EXPECT_EQ(count(std::nextafter(half, TypeParam{1})), 3U);
  EXPECT_EQ(count(TypeParam{0.25}), 1U);
  EXPECT_EQ(count(std::nextafter(TypeParam{0.25}, TypeParam{1})), 2U);
  EXPECT_EQ(count(std::numeric_limits<TypeParam>::denorm_min()), 1U);
  EXPECT_EQ(count(std::nextafter(TypeParam{1}, TypeParam{0})), 4U);
}

TYPED_TEST(TopPRoute, KeepsEveryExpertAtPOneEvenWhenTheSumReachesOneEarly) {
  const auto input = one_sequence<TypeParam>(3, {TypeParam{5000}, TypeParam{0}, TypeParam{-5000}});
  EXPECT_EQ(run_top_p(input, 0.999).row_token_N.size(), 1U);
  const auto all = run_top_p(input, 1.0);
  EXPECT_EQ(all.row_token_N.size(), 3U);
  EXPECT_EQ(all.weights_of(0), (std::vector<TypeParam>{1, 0, 0}));
}

TYPED_TEST(TopPRoute, BreaksTiesByTheLowerExpertAndTreatsSignedZerosAsEqual) {
  const auto input =
      one_sequence<TypeParam>(4, {TypeParam{-1}, -TypeParam{0}, TypeParam{0}, -TypeParam{0}});
  EXPECT_EQ(run_top_p(input, 0.25).experts_of(0), (std::vector<std::int32_t>{1}));
  EXPECT_EQ(run_top_p(input, 0.5).experts_of(0), (std::vector<std::int32_t>{1, 2}));
}

TYPED_TEST(TopPRoute, ChoosesExpertZeroWithWeightNaNWhenNoLogitIsFinite) {
  constexpr TypeParam kNaN = std::numeric_limits<TypeParam>::quiet_NaN();
  constexpr TypeParam kInf = std::numeric_limits<TypeParam>::infinity();
  for (const double p : {0.4, 1.0}) {
    for (const auto& logits : std::vector<std::vector<TypeParam>>{
             {kNaN, kNaN, kNaN}, {-kInf, -kInf, -kInf}, {-kInf, kInf, kNaN}, {kNaN, kInf, kInf}}) {
      for (const bool renormalize : {false, true}) {
        auto input = one_sequence<TypeParam>(3, logits);
        input.renormalize = renormalize;
        const auto out = run_top_p(input, p);
        EXPECT_EQ(out.experts_of(0), (std::vector<std::int32_t>{0}));
        EXPECT_TRUE(std::isnan(out.weights_of(0).at(0)));
      }
    }
  }
}

TYPED_TEST(TopPRoute, WeightsAreNaNWhenAnyLogitIsNaNSoThatTheStepIsSeenAsNonFinite) {
  constexpr TypeParam kNaN = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const bool renormalize : {false, true}) {
    auto input = one_sequence<TypeParam>(3, {kNaN, TypeParam{1}, TypeParam{2}});
    input.renormalize = renormalize;
    const auto out = run_top_p(input, 0.4);
    EXPECT_EQ(out.experts_of(0), (std::vector<std::int32_t>{2}));
    EXPECT_TRUE(std::isnan(out.weights_of(0).at(0)));
  }
}

void run_on_three_threads(std::int64_t num_blocks, const std::function<void(std::int64_t)>& body) {
  std::vector<std::thread> threads;
  for (std::int64_t first = 0; first < 3; ++first) {
    threads.emplace_back([=, &body] {
      for (std::int64_t i = num_blocks - 1 - first; i >= 0; i -= 3) body(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TYPED_TEST(TopPRoute, GivesTheSameBitsOnAnyNumberOfThreads) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 5; ++trial) {
    const auto input = random_route_input<TypeParam>(random, 8, 2.0);
    const auto serial = run_top_p(input, 0.6);
    set_parallel_backend(&run_on_three_threads);
    const auto parallel = run_top_p(input, 0.6);
    set_parallel_backend(nullptr);
    EXPECT_EQ(serial.row_token_N, parallel.row_token_N);
    EXPECT_EQ(serial.token_row_N, parallel.token_row_N);
    EXPECT_EQ(serial.row_weight_N, parallel.row_weight_N);
    EXPECT_EQ(serial.prob_sum_BE, parallel.prob_sum_BE);
    EXPECT_EQ(serial.entropy_sum, parallel.entropy_sum);
    EXPECT_EQ(serial.z_sum, parallel.z_sum);
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
