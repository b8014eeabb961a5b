#include "switchyard/ops/row_gather.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/route_support.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/precision.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::ops::testing {
namespace {

using switchyard::testing::expect_close;
using switchyard::testing::random_normal;

Routing random_routing(std::int64_t num_tokens, std::int64_t num_experts, at::ScalarType dtype) {
  const at::Tensor logits_TE = random_normal({num_tokens, num_experts}, 3, dtype);
  return top_p_route(logits_TE, {}, int32_tensor({0, static_cast<std::int32_t>(num_tokens)}),
                     {.p = 0.6})
      .routing;
}

TEST(RowGather, BringsEachTokensStateToItsRowsInEveryType) {
  const Routing routing = random_routing(50, 6, at::kFloat);
  // Provenance: 50 tokens x 3 columns are distinct integers, exact even in bf16.
  const at::Tensor x_TH = at::arange(150, at::kDouble).reshape({50, 3});
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    const at::Tensor rows_NH = row_gather(x_TH.to(dtype), routing);
    EXPECT_EQ(rows_NH.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(rows_NH.to(at::kDouble), x_TH.index_select(0, routing.row_token_N)));
  }
}

TEST(RowGather, TakesAnyLayoutAndPadsWithZeros) {
  const at::Tensor x_HT = random_normal({4, 9}, 1);
  const at::Tensor rows = row_gather(x_HT.t(), int32_tensor({8, 0, 8}), 5);
  EXPECT_TRUE(at::equal(rows.narrow(0, 0, 3), x_HT.t().index_select(0, int32_tensor({8, 0, 8}))));
  EXPECT_TRUE(at::equal(rows.narrow(0, 3, 2), at::zeros({2, 4}, at::kDouble)));
}

TEST(RowGather, RefusesARoutingOfOtherTokens) {
  const Routing routing = random_routing(5, 3, at::kFloat);
  EXPECT_THROW((void)row_gather(random_normal({6, 2}, 1), routing), InternalError);
  EXPECT_THROW((void)row_gather(random_normal({5, 2}, 1), int32_tensor({0, 1}), 1), InternalError);
}

TEST(RowGatherSum, IsTheTransposeOfRowGather) {
  // <gather(x), rows> == <x, gather_sum(rows)> for all x and rows.
  const Routing routing = random_routing(40, 5, at::kDouble);
  const at::Tensor x_TH = random_normal({40, 7}, 1);
  const at::Tensor rows_NH = random_normal({routing.num_rows(), 7}, 2);
  const double gathered = (row_gather(x_TH, routing) * rows_NH).sum().item<double>();
  const double summed = (x_TH * row_gather_sum(rows_NH, {}, routing)).sum().item<double>();
  EXPECT_NEAR(gathered, summed, 1e-10);
}

TEST(RowGatherSum, WeighsRowsInTheAccumulationType) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const Routing routing = random_routing(40, 5, accumulation_type(dtype));
    const at::Tensor rows_NH = random_normal({routing.num_rows(), 6}, 2, dtype);
    const at::Tensor expected =
        at::zeros({40, 6}, at::kDouble)
            .index_add(0, routing.row_token_N,
                       rows_NH.to(at::kDouble) * routing.row_weight_N.to(at::kDouble).unsqueeze(1));
    const at::Tensor y_TH = row_gather_sum(rows_NH, routing.row_weight_N, routing);
    EXPECT_EQ(y_TH.scalar_type(), dtype);
    expect_close(y_TH, expected, dtype == at::kBFloat16 ? 1e-6 : 1e-7,
                 dtype == at::kBFloat16 ? 0.004 : 1e-6);
  }
}

// Of rows that are tokens nothing is copied.
TEST(RowGatherSum, LeavesRowsThatAreTokensAsTheyAre) {
  Routing routing;
  routing.num_tokens = 4;
  routing.num_experts = 2;
  routing.expert_offset_E1 = int32_tensor({0, 1, 4});
  EXPECT_EQ(routing.num_rows(), 4);
  const at::Tensor x_TH = random_normal({4, 3}, 1);
  EXPECT_TRUE(row_gather(x_TH, routing).is_same(x_TH));
  EXPECT_TRUE(row_gather_sum(x_TH, {}, routing).is_same(x_TH));
  EXPECT_THROW((void)row_gather_sum(x_TH, random_normal({4}, 2), routing), InternalError)
      << "whoever adds rows up multiplies by their weights";
  EXPECT_THROW((void)row_gather(random_normal({5, 3}, 1), routing), InternalError);
}

TEST(RowGatherSum, GivesZerosForTokensWithoutRows) {
  const at::Tensor logits_TE = random_normal({4, 3}, 1);
  const Routing routing =
      top_k_route(logits_TE, {}, int32_tensor({0, 4}), {.k_T = int32_tensor({0, 2, 0, 3})}).routing;
  const at::Tensor y_TH = row_gather_sum(random_normal({5, 2}, 2), routing.row_weight_N, routing);
  EXPECT_TRUE(at::equal(y_TH[0], at::zeros({2}, at::kDouble)));
  EXPECT_TRUE(at::equal(y_TH[2], at::zeros({2}, at::kDouble)));
  EXPECT_FALSE(at::equal(y_TH[1], at::zeros({2}, at::kDouble)));
}

TEST(RowGatherSum, AcceptsNoTokensAndRefusesWeightsOfAnotherType) {
  const Routing none = random_routing(0, 3, at::kFloat);
  EXPECT_EQ(row_gather_sum(at::zeros({0, 4}), none.row_weight_N, none).sizes(),
            (std::vector<std::int64_t>{0, 4}));
  const Routing routing = random_routing(4, 3, at::kDouble);
  EXPECT_THROW((void)row_gather_sum(random_normal({routing.num_rows(), 2}, 1, at::kFloat),
                                    routing.row_weight_N, routing),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops::testing
