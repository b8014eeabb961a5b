#include "switchyard/ops/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
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

const std::vector<std::int64_t> kLabels{0, 6, -1, 3, 3, -1, 1};

at::Tensor labels() {
  return at::tensor(kLabels, at::kLong);
}

TEST(LinearCrossEntropy, AgreesWithLogSoftmax) {
  const at::Tensor x = random_normal({7, 4}, 1);
  const at::Tensor weight = random_normal({9, 4}, 2);
  const at::Tensor log_probs = at::log_softmax(at::mm(x, weight.t()), 1);
  const at::Tensor per_token = linear_cross_entropy_per_token(x, weight, labels());
  double sum = 0.0;
  for (std::size_t t = 0; t < kLabels.size(); ++t) {
    const auto row = static_cast<std::int64_t>(t);
    const double expected = kLabels[t] < 0 ? 0.0 : -log_probs[row][kLabels[t]].item<double>();
    EXPECT_NEAR(per_token[row].item<double>(), expected, 1e-12);
    sum += expected;
  }
  EXPECT_NEAR(linear_cross_entropy(x, weight, labels()).item<double>(), sum, 1e-12);
}

TEST(LinearCrossEntropy, GradientsMatchDifferencesWhateverTheChunk) {
  for (const std::int64_t chunk : {0, 1, 3, 7}) {
    SCOPED_TRACE(chunk);
    expect_gradients_match(
        [&](const std::vector<at::Tensor>& in) {
          return linear_cross_entropy(in[0], in[1], labels(), {.chunk_tokens = chunk}) * 0.7;
        },
        {with_grad(random_normal({7, 4}, 1)), with_grad(random_normal({9, 4}, 2))});
  }
}

TEST(LinearCrossEntropy, AWeightBufferIsAddedToAndAutogradIsLeftOut) {
  const at::Tensor weight = with_grad(random_normal({9, 4}, 2));
  const at::Tensor x = with_grad(random_normal({7, 4}, 1));
  (linear_cross_entropy(x, weight, labels()) * 0.5).backward();
  const at::Tensor by_autograd = weight.grad();
  weight.mutable_grad().reset();
  const at::Tensor buffer = at::ones_like(weight.detach());
  (linear_cross_entropy(x, weight, labels(), {.weight_grad_VH = buffer}) * 0.5).backward();
  EXPECT_FALSE(weight.grad().defined());
  expect_close(buffer - 1.0, by_autograd, 1e-12, 0.0);
}

TEST(LinearCrossEntropy, GradientsOfOneInputAloneAreTheSame) {
  const at::Tensor x = random_normal({7, 4}, 1);
  const at::Tensor weight = random_normal({9, 4}, 2);
  const at::Tensor x_both = with_grad(x.clone());
  const at::Tensor weight_both = with_grad(weight.clone());
  linear_cross_entropy(x_both, weight_both, labels()).backward();
  const at::Tensor x_alone = with_grad(x.clone());
  linear_cross_entropy(x_alone, weight, labels()).backward();
  const at::Tensor weight_alone = with_grad(weight.clone());
  linear_cross_entropy(x, weight_alone, labels()).backward();
  EXPECT_TRUE(at::equal(x_both.grad(), x_alone.grad()));
  EXPECT_TRUE(at::equal(weight_both.grad(), weight_alone.grad()));
}

TEST(LinearCrossEntropy, WithoutGradModeTheLossIsTheSame) {
  const at::Tensor x = with_grad(random_normal({7, 4}, 1));
  const at::Tensor weight = with_grad(random_normal({9, 4}, 2));
  const at::Tensor with = linear_cross_entropy(x, weight, labels());
  const at::NoGradGuard no_grad;
  const at::Tensor without = linear_cross_entropy(x, weight, labels());
  EXPECT_FALSE(without.requires_grad());
  EXPECT_TRUE(at::equal(with.detach(), without));
}

TEST(LinearCrossEntropy, Bf16StaysCloseToDouble) {
  const at::Tensor x = random_normal({700, 16}, 1);
  const at::Tensor weight = random_normal({50, 16}, 2) * 0.2;
  const at::Tensor label = at::full({700}, 7, at::kLong);
  const auto run = [&](at::ScalarType dtype) {
    const at::Tensor x_leaf = with_grad(x.to(dtype, false, true));
    const at::Tensor weight_leaf = with_grad(weight.to(dtype, false, true));
    const at::Tensor loss = linear_cross_entropy(x_leaf, weight_leaf, label);
    loss.backward();
    return std::vector<at::Tensor>{loss, x_leaf.grad(), weight_leaf.grad()};
  };
  const auto wide = run(at::kDouble);
  const auto narrow = run(at::kBFloat16);
  EXPECT_EQ(narrow[0].scalar_type(), at::kFloat);
  EXPECT_EQ(narrow[1].scalar_type(), at::kBFloat16);
  expect_close(narrow[0], wide[0], 0.0, 1e-3);
  expect_close(narrow[1], wide[1], 0.01, 0.02);
  expect_close(narrow[2], wide[2], 0.01 * wide[2].abs().max().item<double>(), 0.02);
}

TEST(LinearCrossEntropy, NoLabelsAndNoTokensGiveZero) {
  const at::Tensor weight = with_grad(random_normal({9, 4}, 2));
  const at::Tensor x = with_grad(random_normal({3, 4}, 1));
  const at::Tensor none = linear_cross_entropy(x, weight, at::full({3}, -1, at::kLong));
  none.backward();
  EXPECT_EQ(none.item<double>(), 0.0);
  EXPECT_TRUE(at::equal(x.grad(), at::zeros_like(x)));
  EXPECT_TRUE(at::equal(weight.grad(), at::zeros_like(weight)));
  const at::Tensor empty =
      linear_cross_entropy(at::zeros({0, 4}, at::kDouble), weight, at::zeros({0}, at::kLong));
  EXPECT_EQ(empty.item<double>(), 0.0);
  empty.backward();
}

TEST(LinearCrossEntropy, ALabelOutsideTheVocabularyIsRefused) {
  const at::Tensor x = random_normal({1, 4}, 1);
  const at::Tensor weight = random_normal({9, 4}, 2);
  EXPECT_THROW((void)linear_cross_entropy(x, weight, at::full({1}, 9, at::kLong)), DataError);
  EXPECT_THROW((void)linear_cross_entropy(x, weight, at::full({1}, -2, at::kLong)), DataError);
  EXPECT_THROW((void)linear_cross_entropy_per_token(x, weight, at::full({1}, 9, at::kLong)),
               DataError);
}

}  // namespace
}  // namespace switchyard::ops
