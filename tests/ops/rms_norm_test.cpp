#include "switchyard/ops/rms_norm.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "support/gradient.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::expect_gradients_match;
using testing::random_normal;
using testing::with_grad;

TEST(RmsNorm, GradientsMatchDifferences) {
  expect_gradients_match(
      [](const std::vector<at::Tensor>& in) {
        return (rms_norm(in[0], in[1], 1e-2) * random_normal({3, 2, 5}, 4)).sum();
      },
      {with_grad(random_normal({3, 2, 5}, 1)), with_grad(random_normal({5}, 2))});
}

TEST(RmsNorm, RowsHaveUnitMeanSquare) {
  const at::Tensor x = random_normal({4, 32}, 1, at::kFloat) * 7.0;
  const at::Tensor y = rms_norm(x, at::ones({32}), 0.0);
  expect_close(y.square().mean(1), at::ones({4}), 1e-5, 0.0);
}

TEST(RmsNorm, KeepsTheTypeOfRowsAndTheTypeOfTheWeightsGradient) {
  for (const at::ScalarType weight_type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = with_grad(random_normal({4, 16}, 1, at::kBFloat16));
    const at::Tensor weight = with_grad(at::ones({16}, weight_type));
    const at::Tensor y = rms_norm(x, weight, 1e-6);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    expect_close(y, rms_norm(x.to(at::kFloat), weight.to(at::kFloat), 1e-6), 0.0, 0.005);
    y.sum().backward();
    EXPECT_EQ(x.grad().scalar_type(), at::kBFloat16);
    EXPECT_EQ(weight.grad().scalar_type(), weight_type);
  }
}

TEST(RmsNorm, ReadsHeadsOfAFusedProjection) {
  const at::Tensor qkv = random_normal({6, 3, 8}, 1);
  const at::Tensor weight = random_normal({8}, 2);
  EXPECT_TRUE(at::equal(rms_norm(qkv.narrow(1, 1, 1), weight, 1e-6),
                        rms_norm(qkv, weight, 1e-6).narrow(1, 1, 1)));
}

TEST(RmsNorm, NoRowsGiveAZeroWeightGradient) {
  const at::Tensor weight = with_grad(at::ones({8}, at::kFloat));
  rms_norm(at::zeros({0, 8}), weight, 1e-6).sum().backward();
  EXPECT_TRUE(at::equal(weight.grad(), at::zeros({8})));
}

TEST(RmsNorm, AWeightOfAnotherSizeIsRefused) {
  EXPECT_THROW((void)rms_norm(at::zeros({2, 8}), at::ones({4}), 1e-6), InternalError);
}

}  // namespace
}  // namespace switchyard::ops
