#include "switchyard/ops/rope.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/gradient.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::expect_gradients_match;
using testing::random_normal;
using testing::with_grad;

at::Tensor positions(const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong);
}

at::Tensor rotated(const at::Tensor& x_TAD, const at::Tensor& position_T, double theta) {
  constexpr std::int64_t kMorePositionsThanAnyTestHas = 5001;
  return rope(x_TAD, position_T, kMorePositionsThanAnyTestHas, theta);
}

// Pair d turns by position * theta^(-2d / D).
TEST(Rope, TurnsEachPairByItsOwnFrequency) {
  const at::Tensor x = random_normal({3, 2, 6}, 1);
  const std::vector<std::int64_t> position{0, 1, 37};
  const at::Tensor y = rotated(x, positions(position), 100.0);
  const auto in = x.accessor<double, 3>();
  const auto out = y.accessor<double, 3>();
  for (std::int64_t t = 0; t < 3; ++t) {
    for (std::int64_t d = 0; d < 3; ++d) {
      const double angle = static_cast<double>(position[static_cast<std::size_t>(t)]) *
                           std::pow(100.0, -2.0 * static_cast<double>(d) / 6.0);
      for (std::int64_t a = 0; a < 2; ++a) {
        // Angles are fp32.
        EXPECT_NEAR(out[t][a][d], in[t][a][d] * std::cos(angle) - in[t][a][d + 3] * std::sin(angle),
                    1e-5);
        EXPECT_NEAR(out[t][a][d + 3],
                    in[t][a][d + 3] * std::cos(angle) + in[t][a][d] * std::sin(angle), 1e-5);
      }
    }
  }
  EXPECT_TRUE(at::equal(x[0], y[0]));
}

TEST(Rope, ScoresDependOnTheDistanceOfPositionsAlone) {
  const at::Tensor q = random_normal({1, 1, 8}, 1);
  const at::Tensor k = random_normal({1, 1, 8}, 2);
  const auto score = [&](std::int64_t at_q, std::int64_t at_k) {
    return (rotated(q, positions({at_q}), 10000.0) * rotated(k, positions({at_k}), 10000.0))
        .sum()
        .item<double>();
  };
  EXPECT_NEAR(score(5, 2), score(105, 102), 1e-5);
  EXPECT_GT(std::abs(score(5, 2) - score(6, 2)), 1e-3);
}

TEST(Rope, GradientsMatchDifferences) {
  expect_gradients_match(
      [](const std::vector<at::Tensor>& in) {
        return (rotated(in[0], positions({0, 3, 9}), 50.0) * random_normal({3, 2, 4}, 4)).sum();
      },
      {with_grad(random_normal({3, 2, 4}, 1))});
}

TEST(Rope, ReadsSlicesOfAFusedProjectionAndExpandedGradients) {
  const at::Tensor qkv = with_grad(random_normal({5, 4, 6}, 1, at::kFloat));
  const at::Tensor position = at::arange(5, at::kLong);
  const at::Tensor slice = rotated(qkv.narrow(1, 1, 2), position, 10000.0);
  EXPECT_TRUE(at::equal(slice, rotated(qkv, position, 10000.0).narrow(1, 1, 2)));
  slice.sum().backward();
  EXPECT_EQ(qkv.grad().select(1, 0).abs().sum().item<float>(), 0.0F);
  EXPECT_GT(qkv.grad().select(1, 1).abs().sum().item<float>(), 0.0F);
}

TEST(Rope, TablesGrowWithoutChangingEarlierPositions) {
  const at::Tensor x = random_normal({1, 1, 4}, 1, at::kFloat);
  const at::Tensor before = rope(x, positions({3}), 4, 777.0);
  const at::Tensor far = rope(x, positions({5000}), 5001, 777.0);
  EXPECT_FALSE(at::equal(before, far));
  EXPECT_TRUE(at::equal(before, rope(x, positions({3}), 4, 777.0)));
}

TEST(Rope, RoundsOnceInBf16) {
  const at::Tensor x = random_normal({4, 2, 8}, 1, at::kBFloat16);
  const at::Tensor position = at::arange(4, at::kLong);
  expect_close(rotated(x, position, 10000.0), rotated(x.to(at::kFloat), position, 10000.0), 0.0,
               0.004);
}

TEST(Rope, NoTokensAndBadPositions) {
  EXPECT_EQ(rotated(at::zeros({0, 2, 4}), at::empty({0}, at::kLong), 10000.0).numel(), 0);
  EXPECT_THROW((void)rotated(at::zeros({1, 2, 4}), positions({-1}), 10000.0), InternalError);
  EXPECT_THROW((void)rope(at::zeros({1, 2, 4}), positions({7}), 7, 10000.0), InternalError);
  EXPECT_THROW((void)rotated(at::zeros({1, 2, 3}), positions({0}), 10000.0), InternalError);
  EXPECT_THROW((void)rotated(at::zeros({2, 2, 4}), positions({0}), 10000.0), InternalError);
}

}  // namespace
}  // namespace switchyard::ops
