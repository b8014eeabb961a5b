#include "switchyard/ops/swiglu.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/silu.h>
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

at::Tensor swiglu_by_torch(const at::Tensor& gate_up) {
  const std::int64_t size = gate_up.size(-1) / 2;
  return at::silu(gate_up.narrow(-1, 0, size)) * gate_up.narrow(-1, size, size);
}

TEST(Swiglu, AgreesWithTorchInEveryType) {
  const at::Tensor gate_up = random_normal({3, 4, 10}, 1);
  expect_close(swiglu(gate_up), swiglu_by_torch(gate_up), 1e-14, 1e-14);
  expect_close(swiglu(gate_up.to(at::kFloat)), swiglu_by_torch(gate_up), 1e-6, 1e-6);
  const at::Tensor rounded = gate_up.to(at::kBFloat16);
  expect_close(swiglu(rounded), swiglu_by_torch(rounded.to(at::kDouble)), 1e-6, 0.004);
}

TEST(Swiglu, HasTheGradientOfCentralDifferences) {
  expect_gradients_match(
      [](const std::vector<at::Tensor>& in) {
        return (swiglu(in[0]) * random_normal({2, 3, 4}, 2)).sum();
      },
      {with_grad(random_normal({2, 3, 8}, 1))});
}

TEST(Swiglu, AcceptsAnExpandedGradientAndNoRows) {
  const at::Tensor gate_up = with_grad(random_normal({5, 6}, 1, at::kFloat));
  swiglu(gate_up).sum().backward();
  expect_close(gate_up.grad().narrow(1, 3, 3), at::silu(gate_up.narrow(1, 0, 3)), 1e-6, 1e-6);
  const at::Tensor none = with_grad(at::zeros({0, 6}));
  swiglu(none).sum().backward();
  EXPECT_EQ(none.grad().numel(), 0);
}

TEST(SwigluBackward, GivesTheGradientOfTheWeightedRow) {
  const at::Tensor gate_up = with_grad(random_normal({5, 6}, 1));
  const at::Tensor d_NF = random_normal({5, 3}, 2);
  const at::Tensor weight = with_grad(random_normal({5}, 3));
  // The row's contribution to the loss is w_r <D_r, A_r>.
  (weight.unsqueeze(1) * d_NF * swiglu_by_torch(gate_up)).sum().backward();
  const SwigluBackward out = swiglu_backward(gate_up.detach(), d_NF, weight.detach());
  expect_close(out.dgate_up_N2F, gate_up.grad(), 1e-13, 1e-13);
  expect_close(out.dweight_N, weight.grad(), 1e-13, 1e-13);
  expect_close(out.activation_NF, weight.unsqueeze(1) * swiglu_by_torch(gate_up), 1e-13, 1e-13);
}

TEST(SwigluBackward, PadsToTheRowsOfTheUpstreamGradient) {
  const at::Tensor gate_up = random_normal({2, 6}, 1, at::kBFloat16);
  const at::Tensor d_NF = random_normal({4, 3}, 2, at::kBFloat16);
  const SwigluBackward out = swiglu_backward(gate_up, d_NF, {});
  EXPECT_EQ(out.dweight_N.size(0), 2);
  EXPECT_EQ(out.dweight_N.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(out.dgate_up_N2F.narrow(0, 2, 2), at::zeros({2, 6}, at::kBFloat16)));
  EXPECT_TRUE(at::equal(out.activation_NF.narrow(0, 2, 2), at::zeros({2, 3}, at::kBFloat16)));
}

TEST(SwigluBackward, RefusesShapesThatDoNotFit) {
  EXPECT_THROW((void)swiglu_forward(random_normal({2, 5}, 1)), InternalError);
  EXPECT_THROW((void)swiglu_backward(random_normal({4, 6}, 1), random_normal({3, 3}, 2), {}),
               InternalError);
  EXPECT_THROW((void)swiglu_backward(random_normal({4, 6}, 1), random_normal({4, 4}, 2), {}),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops
