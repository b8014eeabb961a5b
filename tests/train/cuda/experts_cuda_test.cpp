// The experts on a GPU against the loop over experts on the CPU.
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "support/near_in_norm.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/top_k_route.h"
#include "train/cuda/gpu.h"

namespace switchyard::train {
namespace {

using switchyard::testing::expect_near_in_norm;
using switchyard::testing::random_normal;

struct Sizes {
  std::int64_t hidden;
  std::int64_t expert;
  std::int64_t num_experts;
};
constexpr Sizes kSmall{64, 96, 8};
constexpr Sizes kManyExperts{72, 136, 70};  // more than a warp's lanes, no multiples of a tile
constexpr Sizes kLarge{512, 320, 6};        // several tiles each way

struct Results {
  at::Tensor y_TH, dx_TH, dweight_N, dw1_E2FH, dw2_EHF;
};

// Token t gets k_T[t] of all experts but the first and the last, which stay empty.
Results run(moe::ExpertCompute& compute, const Sizes& sizes, const std::vector<int>& k_T,
            at::ScalarType dtype, at::Device device) {
  const auto [hidden, expert_size, num_experts] = sizes;
  const auto num_tokens = static_cast<std::int64_t>(k_T.size());
  const auto random = [&](const std::vector<std::int64_t>& shape, std::uint64_t seed,
                          double scale) {
    return random_normal(shape, seed).mul(scale).to(device, dtype);
  };
  const at::Tensor logits_TE = random_normal({num_tokens, num_experts}, 1).to(at::kFloat);
  logits_TE.select(1, 0).fill_(-1e4);
  logits_TE.select(1, num_experts - 1).fill_(-1e4);
  const ops::Routing routing =
      ops::top_k_route(logits_TE.to(device), {},
                       at::tensor({0, static_cast<int>(num_tokens)}, at::kInt).to(device),
                       {.k_T = at::tensor(k_T, at::kInt).to(device)})
          .routing;
  const at::Tensor x_TH = random({num_tokens, hidden}, 2, 1.0);
  const at::Tensor dy_TH = random({num_tokens, hidden}, 3, 1.0);
  const at::Tensor w1 = random({num_experts, 2 * expert_size, hidden}, 4, 0.1);
  const at::Tensor w2 = random({num_experts, hidden, expert_size}, 5, 0.1);
  // Not zero: gradients are added to what is there.
  const auto sum = at::TensorOptions().dtype(at::kFloat).device(device);
  const moe::GradSink sink{.w1_E2FH = at::full(w1.sizes(), 0.5, sum),
                           .w2_EHF = at::full(w2.sizes(), 0.5, sum)};
  const auto forward = compute.forward(x_TH, routing, w1, w2);
  const auto backward = compute.backward(dy_TH, x_TH, forward.gate_up_N2F, routing, w1, w2, sink);
  return {forward.y_TH, backward.dx_TH, backward.dweight_N, sink.w1_E2FH, sink.w2_EHF};
}

struct Case {
  std::string name;
  at::ScalarType dtype;
};

class ExpertsOnGpu : public OnGpu<::testing::TestWithParam<Case>> {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (IsSkipped()) return;
    try {
      (void)compute(ops::device_of(test_device()), kSmall);
    } catch (const UsageError& error) {
      GTEST_SKIP() << error.what();  // not in this build, or not on this GPU
    }
  }

  [[nodiscard]] static std::shared_ptr<moe::ExpertCompute> compute(at::Device device,
                                                                   const Sizes& sizes) {
    return moe::make_expert_compute(GetParam().name, {.dtype = GetParam().dtype,
                                                      .device = device,
                                                      .hidden_size = sizes.hidden,
                                                      .expert_size = sizes.expert});
  }

  static void expect_same_as_on_the_cpu(const Sizes& sizes, const std::vector<int>& k_T) {
    const at::Device device = ops::device_of(test_device());
    const at::ScalarType dtype = GetParam().dtype;
    const Results actual = run(*compute(device, sizes), sizes, k_T, dtype, device);
    const auto loop = moe::make_expert_compute("loop", {.dtype = dtype});
    const Results expected = run(*loop, sizes, k_T, dtype, at::kCPU);
    const double limit = dtype == at::kBFloat16 ? 1e-2 : 1e-5;
    expect_near_in_norm(actual.y_TH, expected.y_TH, limit, "y");
    expect_near_in_norm(actual.dx_TH, expected.dx_TH, limit, "dx");
    expect_near_in_norm(actual.dweight_N, expected.dweight_N, limit, "dweight");
    expect_near_in_norm(actual.dw1_E2FH, expected.dw1_E2FH, limit, "dW1");
    expect_near_in_norm(actual.dw2_EHF, expected.dw2_EHF, limit, "dW2");
  }
};

TEST_P(ExpertsOnGpu, AreThoseOfTheCpu) {
  for (const Sizes& sizes : {kSmall, kManyExperts, kLarge}) {
    std::vector<int> k_T;
    const auto num_used = static_cast<int>(sizes.num_experts) - 2;
    for (int t = 0; t < 1000; ++t) k_T.push_back((t * t + t / 3) % (num_used + 1));
    expect_same_as_on_the_cpu(sizes, k_T);
  }
}

TEST_P(ExpertsOnGpu, TakeNoTokensAndTokensWithoutExperts) {
  expect_same_as_on_the_cpu(kSmall, {});
  expect_same_as_on_the_cpu(kSmall, {0, 0, 0});
  expect_same_as_on_the_cpu(kSmall, {1});
}

TEST_P(ExpertsOnGpu, GiveTheSameBitsEveryTime) {
  const at::Device device = ops::device_of(test_device());
  const std::vector<int> k_T(257, 2);
  const auto results = [&] {
    return run(*compute(device, kSmall), kSmall, k_T, GetParam().dtype, device);
  };
  const Results first = results();
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Results again = results();
    EXPECT_TRUE(again.y_TH.equal(first.y_TH));
    EXPECT_TRUE(again.dx_TH.equal(first.dx_TH));
    EXPECT_TRUE(again.dweight_N.equal(first.dweight_N));
    EXPECT_TRUE(again.dw1_E2FH.equal(first.dw1_E2FH));
    EXPECT_TRUE(again.dw2_EHF.equal(first.dw2_EHF));
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExpertsOnGpu,
                         ::testing::Values(Case{"loop", at::kFloat}, Case{"loop", at::kBFloat16},
                                           Case{"grouped_mm", at::kBFloat16},
                                           Case{"cutlass", at::kBFloat16}),
                         [](const auto& instance) {
                           return instance.param.name + "_" +
                                  std::string(instance.param.dtype == at::kFloat ? "fp32" : "bf16");
                         });

}  // namespace
}  // namespace switchyard::train
