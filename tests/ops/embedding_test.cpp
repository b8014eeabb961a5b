#include "switchyard/ops/embedding.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "support/gradient.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::random_normal;
using testing::with_grad;

at::Tensor tokens(const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong);
}

TEST(Embedding, ReturnsTheRowsOfTheTokens) {
  const at::Tensor weight = random_normal({5, 3}, 1);
  const at::Tensor x = ops::embedding(tokens({4, 0, 4}), weight);
  EXPECT_TRUE(at::equal(x[0], weight[4]));
  EXPECT_TRUE(at::equal(x[1], weight[0]));
  EXPECT_TRUE(at::equal(x[2], weight[4]));
}

TEST(Embedding, GradientsMatchDifferences) {
  testing::expect_gradients_match(
      [](const std::vector<at::Tensor>& in) {
        return (ops::embedding(tokens({2, 0, 2, 2}), in[0]) * random_normal({4, 3}, 2)).sum();
      },
      {with_grad(random_normal({5, 3}, 1))});
}

TEST(Embedding, ABufferIsAddedToAndAutogradIsLeftOut) {
  const at::Tensor weight = with_grad(random_normal({5, 3}, 1));
  ops::embedding(tokens({2, 0, 2}), weight).sum().backward();
  const at::Tensor by_autograd = weight.grad();
  weight.mutable_grad().reset();
  const at::Tensor buffer = at::ones_like(weight.detach());
  ops::embedding(tokens({2, 0, 2}), weight, buffer).sum().backward();
  EXPECT_FALSE(weight.grad().defined());
  expect_close(buffer - 1.0, by_autograd, 1e-12, 0.0);
}

TEST(Embedding, ATokenOutsideTheVocabularyIsRefused) {
  const at::Tensor weight = random_normal({5, 3}, 1);
  EXPECT_THROW((void)ops::embedding(tokens({5}), weight), DataError);
  EXPECT_THROW((void)ops::embedding(tokens({-1}), weight), DataError);
  EXPECT_EQ(ops::embedding(at::empty({0}, at::kLong), weight).size(0), 0);
}

}  // namespace
}  // namespace switchyard::ops
