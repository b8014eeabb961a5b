#include "switchyard/kernels/top_k_route.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/route_reference.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class TopKRoute : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TopKRoute, Types);

TYPED_TEST(TopKRoute, MatchesTheDefinitionOnRandomAndExtremeLogits) {
  std::mt19937 random(2);
  for (const std::int64_t num_experts : {1, 2, 8, 16, 33, 256}) {
    for (std::int64_t k = 0; k <= num_experts; k = 2 * k + 1) {
      for (const bool extremes : {false, true}) {
        auto input = random_route_input<TypeParam>(random, num_experts, 2.0);
        if (extremes) add_extreme_values(input, random);
        expect_route(input, run_top_k(input, k),
                     [&](std::int64_t t, std::int64_t count, const auto&, const auto&) {
                       EXPECT_EQ(count, k) << "token " << t;
                     });
        if (::testing::Test::HasFailure()) {
          FAIL() << "E = " << num_experts << ", k = " << k << ", extremes = " << extremes;
        }
      }
    }
  }
}

TYPED_TEST(TopKRoute, GivesEachTokenItsOwnNumberOfExperts) {
  std::mt19937 random(4);
  const auto input = random_route_input<TypeParam>(random, 6, 2.0);
  std::vector<std::int32_t> k_T;
  for (std::int64_t t = 0; t < input.num_tokens(); ++t) {
    k_T.push_back(static_cast<std::int32_t>(random() % 7));
  }
  expect_route(input, run_top_k(input, 0, k_T),
               [&](std::int64_t t, std::int64_t count, const auto&, const auto&) {
                 EXPECT_EQ(count, k_T[static_cast<std::size_t>(t)]) << "token " << t;
               });
}

TYPED_TEST(TopKRoute, KeepsValidIndicesWhenK_TIsOutOfRange) {
  const auto input =
      one_sequence<TypeParam>(2, {TypeParam{1}, TypeParam{0}, TypeParam{1}, TypeParam{0}});
  const auto out = run_top_k(input, 0, {-5, 100});
  EXPECT_EQ(out.token_offset_T1, (std::vector<std::int32_t>{0, 0, 2}));
}

TYPED_TEST(TopKRoute, ListsHandMadeChoicesInBothViews) {
  // Token 0 prefers 2 then 0, token 1 prefers 1 then 2.
  const auto input = one_sequence<TypeParam>(
      3, {TypeParam{1}, TypeParam{0}, TypeParam{2}, TypeParam{0}, TypeParam{2}, TypeParam{1}});
  const auto out = run_top_k(input, 2);
  EXPECT_EQ(out.expert_offset_E1, (std::vector<std::int32_t>{0, 1, 2, 4}));
  EXPECT_EQ(out.row_token_N, (std::vector<std::int32_t>{0, 1, 0, 1}));
  EXPECT_EQ(out.token_offset_T1, (std::vector<std::int32_t>{0, 2, 4}));
  EXPECT_EQ(out.token_row_N, (std::vector<std::int32_t>{0, 2, 1, 3}));
  // softmax(2, 1, 0) = 0.66524, 0.24473, 0.09003
  EXPECT_NEAR(out.row_weight_N[0], 0.24473, 1e-5);
  EXPECT_NEAR(out.row_weight_N[2], 0.66524, 1e-5);
  EXPECT_NEAR(out.entropy_sum, 2 * 0.83240, 1e-4);
  EXPECT_NEAR(out.z_sum, 2 * 2.40761 * 2.40761, 1e-3);
}

}  // namespace
}  // namespace switchyard::kernels::testing
