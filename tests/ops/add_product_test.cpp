#include "switchyard/ops/add_product.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

namespace switchyard::ops {
namespace {

TEST(AddProduct, AddsInTheTypeOfTheSum) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor sum = at::full({2, 3}, 256.0, dtype == at::kDouble ? at::kDouble : at::kFloat);
    add_product(sum, at::ones({2, 1}, dtype), at::ones({1, 3}, dtype));
    EXPECT_TRUE(sum.eq(257.0).all().item<bool>()) << at::toString(dtype);
  }
}

TEST(AddProduct, WritesToPartsOfATensor) {
  const at::Tensor sums = at::ones({2, 2, 2});
  add_product(sums.select(0, 1), at::ones({2, 4}), at::ones({4, 2}));
  EXPECT_TRUE(sums.select(0, 0).eq(1.0).all().item<bool>());
  EXPECT_TRUE(sums.select(0, 1).eq(5.0).all().item<bool>());
}

}  // namespace
}  // namespace switchyard::ops
