#include "switchyard/ops/linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "support/openmp_teams.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::random_normal;
using testing::teams_begun_by;
using testing::with_grad;

using LinearOnTwoThreads = testing::OnTwoThreads;

struct Operands {
  at::Tensor x_TI, weight_OI, bias_O;
};

Operands operands(std::int64_t num_tokens, std::int64_t in, std::int64_t out,
                  at::ScalarType dtype) {
  return {.x_TI = with_grad(random_normal({num_tokens, in}, 1, dtype)),
          .weight_OI = with_grad(random_normal({out, in}, 2, dtype)),
          .bias_O = with_grad(random_normal({out}, 3, dtype))};
}

struct Size {
  std::int64_t num_tokens, in, out;
};
// Small, in blocks one way or the other, large, and no tokens.
constexpr std::array<Size, 5> kSizes{
    {{9, 5, 7}, {301, 40, 101}, {150, 60, 300}, {300, 200, 200}, {0, 5, 7}}};

TEST_F(LinearOnTwoThreads, IsThatOfLibTorchWithItsGradients) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const double tolerance = dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 1e-4 : 0.1;
    for (const auto& [num_tokens, in, out] : kSizes) {
      for (const bool has_bias : {true, false}) {
        using Bias = std::optional<at::Tensor>;
        const Operands ours = operands(num_tokens, in, out, dtype);
        const Operands theirs = operands(num_tokens, in, out, dtype);
        const at::Tensor dy_TO = random_normal({num_tokens, out}, 4, dtype);
        const at::Tensor y =
            ops::linear(ours.x_TI, ours.weight_OI, has_bias ? Bias(ours.bias_O) : std::nullopt);
        const at::Tensor expected = at::linear(theirs.x_TI, theirs.weight_OI,
                                               has_bias ? Bias(theirs.bias_O) : std::nullopt);
        EXPECT_EQ(y.scalar_type(), dtype);
        expect_close(y, expected, tolerance, tolerance);
        y.backward(dy_TO);
        expected.backward(dy_TO);
        expect_close(ours.x_TI.grad(), theirs.x_TI.grad(), tolerance, tolerance);
        expect_close(ours.weight_OI.grad(), theirs.weight_OI.grad(), tolerance, tolerance);
        ASSERT_EQ(ours.bias_O.grad().defined(), has_bias);
        if (!has_bias) continue;
        expect_close(ours.bias_O.grad(), theirs.bias_O.grad(), tolerance, tolerance);
      }
    }
  }
}

TEST_F(LinearOnTwoThreads, OfColumnsAndOfOneGradientForAll) {
  const at::Tensor wide = random_normal({301, 80}, 1);
  const at::Tensor columns = with_grad(wide.narrow(1, 20, 40));
  const at::Tensor same = with_grad(wide.narrow(1, 20, 40).contiguous());
  const at::Tensor weight = random_normal({101, 40}, 2);
  const at::Tensor y = ops::linear(columns, weight);
  const at::Tensor expected = ops::linear(same, weight);
  expect_close(y, expected, 1e-12, 1e-12);
  y.sum().backward();  // a gradient that is one number, expanded
  expected.sum().backward();
  expect_close(columns.grad(), same.grad(), 1e-12, 1e-12);
}

TEST(Linear, GivesGradientsToThoseThatTakeThem) {
  Operands of = operands(4, 3, 2, at::kDouble);
  of.x_TI = of.x_TI.detach();
  ops::linear(of.x_TI, of.weight_OI).sum().backward();
  EXPECT_FALSE(of.x_TI.grad().defined());
  EXPECT_TRUE(of.weight_OI.grad().defined());

  of = operands(4, 3, 2, at::kDouble);
  of.weight_OI = of.weight_OI.detach();
  ops::linear(of.x_TI, of.weight_OI, of.bias_O.detach()).sum().backward();
  EXPECT_TRUE(of.x_TI.grad().defined());
  EXPECT_FALSE(of.weight_OI.grad().defined());

  of = operands(4, 3, 2, at::kDouble);
  ops::linear(of.x_TI.detach(), of.weight_OI.detach(), of.bias_O).sum().backward();
  EXPECT_TRUE(of.bias_O.grad().defined());

  const at::NoGradGuard no_grad;
  EXPECT_FALSE(ops::linear(of.x_TI, of.weight_OI).requires_grad());
}

// A leaf's gradient accumulator holds it, too, from the first time that it is used.
TEST(Linear, KeepsOnlyWhatAGradientNeeds) {
  const Operands of = operands(4, 3, 2, at::kDouble);
  const at::Tensor holds_accumulators = ops::linear(of.x_TI, of.weight_OI);
  const at::Tensor weight = of.weight_OI.detach();
  const at::Tensor x = of.x_TI.detach();
  const auto uses_of_x = of.x_TI.use_count();
  const auto uses_of_weight = of.weight_OI.use_count();
  {
    const at::Tensor keeps_both = ops::linear(of.x_TI, of.weight_OI);
    EXPECT_GT(of.x_TI.use_count(), uses_of_x) << "does not count what is kept";
    EXPECT_GT(of.weight_OI.use_count(), uses_of_weight) << "does not count what is kept";
  }
  const at::Tensor of_frozen = ops::linear(of.x_TI, weight);
  const at::Tensor of_data = ops::linear(x, of.weight_OI);
  EXPECT_EQ(of.x_TI.use_count(), uses_of_x);
  EXPECT_EQ(of.weight_OI.use_count(), uses_of_weight);
}

TEST_F(LinearOnTwoThreads, KeepsSmallProductsOnTheThreadThatCallsThem) {
  const auto teams = [](const Operands& of) {
    const at::Tensor dy_TO = at::zeros_like(ops::linear(of.x_TI, of.weight_OI));
    at::Tensor y_TO;
    const std::int64_t forward = teams_begun_by([&] { y_TO = ops::linear(of.x_TI, of.weight_OI); });
    return std::pair(forward, teams_begun_by([&] { y_TO.backward(dy_TO); }));
  };
  EXPECT_EQ(teams(operands(128, 32, 96, at::kFloat)), std::pair(std::int64_t{0}, std::int64_t{0}));
  const auto [forward, backward] = teams(operands(512, 256, 256, at::kFloat));
  EXPECT_GT(forward, 0);
  EXPECT_GT(backward, 0);
}

TEST(Linear, NamesShapesThatDoNotFit) {
  EXPECT_THROW((void)ops::linear(random_normal({4, 3}, 1), random_normal({2, 4}, 2)),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops
