#include "switchyard/ops/expert_allocation.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "ops/route_support.h"
#include "switchyard/core/error.h"

namespace switchyard::ops::testing {
namespace {

TEST(ExpertAllocation, GivesTheSameCountsForBothImportanceTypes) {
  const at::Tensor importance_T = at::tensor({0.5, 1.0, 1.5, 3.0, 0.0}, at::kDouble);
  const at::Tensor valid_T = at::tensor({1, 1, 1, 0, 1}, at::kInt).to(at::kBool);
  const at::Tensor offsets = int32_tensor({0, 2, 5});
  const AllocationOptions proportional{.k_mean = 2.0, .k_min = 1, .k_max = 4};
  const at::Tensor expected = int32_tensor({1, 2, 3, 0, 1});
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    EXPECT_TRUE(at::equal(expert_allocation(importance_T.to(dtype), valid_T, offsets, proportional),
                          expected));
  }
}

TEST(ExpertAllocation, MeetsTheBudgetOfEverySequence) {
  const at::Tensor importance_T = at::tensor({0.1, 0.2, 5.0, 1.0, 1.0}, at::kFloat);
  const at::Tensor k_T =
      expert_allocation(importance_T, {}, int32_tensor({0, 3, 3, 5}),
                        {.k_mean = 2.0, .k_min = 1, .k_max = 4, .rule = AllocationRule::budget});
  EXPECT_TRUE(at::equal(k_T, int32_tensor({1, 1, 4, 2, 2})));
}

TEST(ExpertAllocation, AcceptsNoTokens) {
  const at::Tensor k_T =
      expert_allocation(at::empty({0}, at::kFloat), {}, int32_tensor({0}), {.k_max = 4});
  EXPECT_EQ(k_T.numel(), 0);
}

TEST(ExpertAllocation, RefusesBoundsOutOfOrder) {
  const at::Tensor importance_T = at::tensor({1.0}, at::kFloat);
  EXPECT_THROW((void)expert_allocation(importance_T, {}, int32_tensor({0, 1}),
                                       {.k_mean = 2.0, .k_min = 3, .k_max = 4}),
               InternalError);
  EXPECT_THROW((void)expert_allocation(importance_T, {}, int32_tensor({0, 1}),
                                       {.k_mean = 2.0, .k_min = 1, .k_max = 1}),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops::testing
