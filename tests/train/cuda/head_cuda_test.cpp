// The output head on a GPU, in several chunks of tokens, against the CPU in fp32 from the same
// numbers.
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <string>

#include "support/near_in_norm.h"
#include "support/tensors.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/linear_cross_entropy.h"
#include "train/cuda/gpu.h"

namespace switchyard::train {
namespace {

using switchyard::testing::expect_near_in_norm;
using switchyard::testing::random_normal;

constexpr std::int64_t kTokens = 50;
constexpr std::int64_t kPieces = 72;

struct HeadResults {
  at::Tensor loss, dx_TH, weight_sum_VH;
};

// The gradient of the weight is added to a sum of ones.
HeadResults head_on(at::Device device, at::ScalarType dtype, std::int64_t chunk_tokens) {
  const auto rounded = [&](std::vector<std::int64_t> shape, std::uint64_t seed) {
    return random_normal(shape, seed).to(at::kBFloat16).to(device, dtype).requires_grad_();
  };
  const at::Tensor x_TH = rounded({kTokens, 16}, 1);
  const at::Tensor weight_VH = rounded({kPieces, 16}, 2);
  const at::Tensor label_T = at::arange(kTokens, at::kLong).mul(5).remainder(kPieces + 1).sub(1);
  const at::Tensor sum_VH = at::ones({kPieces, 16}, at::TensorOptions().device(device));
  const at::Tensor loss =
      ops::linear_cross_entropy(x_TH, weight_VH, label_T.to(device),
                                {.chunk_tokens = chunk_tokens, .weight_grad_VH = sum_VH});
  loss.mul(0.5).backward();
  return {loss.detach(), x_TH.grad(), sum_VH};
}

using HeadOnGpu = OnGpu<>;

TEST_F(HeadOnGpu, GivesInChunksWhatTheCpuGives) {
  const HeadResults expected = head_on(at::kCPU, at::kFloat, 0);
  const at::Device device = ops::device_of(test_device());
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const double limit = dtype == at::kFloat ? 1e-5 : 2e-2;  // logits and their gradients in bf16
    for (const std::int64_t chunk : {0, 16}) {
      SCOPED_TRACE(std::string(at::toString(dtype)) + " by " + std::to_string(chunk));
      const HeadResults actual = head_on(device, dtype, chunk);
      expect_near_in_norm(actual.loss, expected.loss, limit, "loss");
      expect_near_in_norm(actual.dx_TH, expected.dx_TH, limit, "dx");
      expect_near_in_norm(actual.weight_sum_VH, expected.weight_sum_VH, limit, "weight sum");
    }
  }
}

}  // namespace
}  // namespace switchyard::train
