#include "switchyard/ops/grouped_add.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

Routing two_rows_for_the_second_of_three() {
  Routing routing;
  routing.num_tokens = 2;
  routing.num_experts = 3;
  routing.expert_offset_E1 = at::tensor({0, 0, 2, 2}, at::kInt);
  return routing;
}

TEST(GroupedAddOp, AddsOnlyExpertsWithRows) {
  const at::Tensor value = at::full({3, 2, 2}, std::numeric_limits<float>::quiet_NaN(), at::kFloat);
  value.select(0, 1).fill_(2.0);
  const at::Tensor sum = at::ones({3, 2, 2});
  grouped_add(sum, value, two_rows_for_the_second_of_three());
  EXPECT_TRUE(sum.select(0, 1).eq(3.0).all().item<bool>());
  EXPECT_TRUE(sum.select(0, 0).eq(1.0).all().item<bool>());
  EXPECT_TRUE(sum.select(0, 2).eq(1.0).all().item<bool>());
}

TEST(GroupedAddOp, RefusesSumsOfAnotherShapeOrType) {
  const Routing routing = two_rows_for_the_second_of_three();
  const at::Tensor value = at::ones({3, 2, 2}, at::kBFloat16);
  EXPECT_THROW(grouped_add(at::ones({3, 2, 2}, at::kBFloat16), value, routing), InternalError);
  EXPECT_THROW(grouped_add(at::ones({3, 4, 1}), value, routing), InternalError);
  EXPECT_THROW(grouped_add(at::ones({2, 2, 2}), at::ones({2, 2, 2}), routing), InternalError);
  EXPECT_NO_THROW(grouped_add(at::zeros({3, 2, 2}), value, routing));
}

}  // namespace
}  // namespace switchyard::ops
