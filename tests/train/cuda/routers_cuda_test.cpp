// Routers whose tokens get different numbers of experts, with and without padding, on a GPU against
// the CPU. (In the configurations of training_cuda_test.cpp nearly every token gets two.)
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "support/near_in_norm.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/model/trunk.h"
#include "train/cuda/gpu.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using switchyard::testing::expect_near_in_norm;

struct Case {
  std::string name;
  config::RouterConfig router;
  bool causal = true;
  bool varies = true;  // tokens get different numbers of experts
  std::int64_t shared_expert_size = 0;
};

std::vector<Case> cases() {
  using Importance = config::AttentionImportanceOptions;
  return {
      {.name = "top_k",
       .router = config::RouterConfig(config::TopKOptions{.k = 3}),
       .varies = false},
      {.name = "top_p", .router = config::RouterConfig(config::TopPOptions{.p = 0.6})},
      {.name = "top_p_capped",
       .router = config::RouterConfig(config::TopPOptions{.p = 0.9, .max_experts = 4})},
      {.name = "attention_entropy",
       .router = config::RouterConfig(Importance{.k_mean = 3.0, .k_min = 0})},
      {.name = "attention_peak",
       .router = config::RouterConfig(Importance{.importance = "attention_peak", .k_mean = 2.5})},
      {.name = "attention_received",
       .router = config::RouterConfig(Importance{
           .importance = "attention_received", .k_mean = 2.5, .k_min = 0, .allocation = "budget"}),
       .causal = false},
      {.name = "top_p_normalized",
       .router = config::RouterConfig(config::TopPOptions{.p = 0.6, .normalize_logits = true})},
      {.name = "top_k_biased",
       .router = config::RouterConfig(config::TopKOptions{.k = 3, .bias_rate = 1e-3}, true),
       .varies = false},
      {.name = "relu",
       .router = config::RouterConfig(config::ReluOptions{.target_k = 3.0, .l1_start = 1e-3})},
      {.name = "expert_threshold",
       .router = config::RouterConfig(config::ExpertThresholdOptions{.target_k = 3.0}),
       .varies = false},
      {.name = "shared_expert",
       .router = config::RouterConfig(config::TopPOptions{.p = 0.6}),
       .shared_expert_size = 24}};
}

// 8 experts in both blocks, and weights large enough that attention and routers tell tokens apart.
config::Config config_of(const Case& instance) {
  config::Config config = tiny_config("fp32");
  config.model.init_std = 0.25;
  config.model.moe.num_experts = 8;
  config.model.moe.layers = {0, 1};
  config.model.moe.router = instance.router;
  config.model.moe.shared_expert_size = instance.shared_expert_size;
  config.model.moe.shared_expert_gate = instance.shared_expert_size > 0;
  config.model.moe.loss.load_balance = 0.1;
  config.model.moe.loss.z = 0.01;
  return config;
}

class RoutersOnGpu : public OnGpu<::testing::TestWithParam<Case>> {};

TEST_P(RoutersOnGpu, TrainAsOnTheCpu) {
  if (!GetParam().causal) GTEST_SKIP() << "not for causal models";
  config::Config config = config_of(GetParam());
  config.model.dropout = 0.1;
  config.train.micro_batch_size = 4;  // two micro-batches
  const auto steps_on = [&config](const std::string& device) {
    config.train.device = device;
    return TinyRun(config).train(2);
  };
  const auto expected = steps_on("cpu");
  const auto actual = steps_on(test_device());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i].lm_loss, expected[i].lm_loss, 2e-4 * expected[i].lm_loss) << "step " << i;
    EXPECT_NEAR(actual[i].grad_norm, expected[i].grad_norm, 5e-3 * expected[i].grad_norm);
  }
  // Of the first step: later ones differ by what their weights do.
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const std::vector<std::int64_t>& histogram = expected[0].layers[layer].k_histogram_E1;
    EXPECT_EQ(actual[0].layers[layer].k_histogram_E1, histogram);
    EXPECT_EQ(actual[0].layers[layer].count_E, expected[0].layers[layer].count_E);
    const auto num_different = std::count_if(histogram.begin(), histogram.end(),
                                             [](std::int64_t count) { return count > 0; });
    EXPECT_GE(num_different, GetParam().varies ? 3 : 1) << "layer " << layer;
  }
}

// What two blocks make of a batch with padding, and what of it goes back to their weights.
struct Outcome {
  at::Tensor hidden_TH;
  std::vector<at::Tensor> token_offset_T1;  // by layer
  std::vector<at::Tensor> gradients;        // by parameter
};

Outcome outcome_on(const std::string& device_name, const Case& instance) {
  const config::Config config = config_of(instance);
  const at::Device device = ops::device_of(device_name);
  model::Trunk trunk(config.model, {.sequence_length = 16,
                                    .precision = ops::precision_policy("fp32", device),
                                    .causal = instance.causal});
  for (ops::Parameter* parameter : trunk.parameters()) {
    ops::initialize(*parameter, 7);
    ops::zero_grad(*parameter);
  }
  // Sequences of 16, 1 and 13 tokens, of which 10, 1 and 0 are no padding.
  model::Batch batch;
  batch.token_T = at::arange(30, at::kLong).mul(7).remainder(kTinyVocab);
  batch.position_T =
      at::cat({at::arange(16, at::kLong), at::arange(1, at::kLong), at::arange(13, at::kLong)});
  batch.num_positions = 16;
  batch.sequence_offset = {0, 16, 17, 30};
  batch.sequence_offset_B1 = at::tensor(batch.sequence_offset, at::kInt);
  batch.valid_T = at::arange(30).lt(10).logical_or(at::arange(30).eq(16));
  batch.token_idx_T = at::arange(30, at::kLong);
  const model::TrunkOutput output =
      trunk.forward(model::to_device(batch, device), {.training = true});
  Outcome outcome{
      .hidden_TH = output.hidden_TH.detach().cpu(), .token_offset_T1 = {}, .gradients = {}};
  for (const model::LayerRoute& route : output.routes) {
    outcome.token_offset_T1.push_back(route.routing.token_offset_T1.cpu());
  }
  const at::Tensor weight_TH =
      at::arange(output.hidden_TH.numel()).sin().view_as(outcome.hidden_TH);
  output.hidden_TH.mul(weight_TH.to(device))
      .mul(batch.valid_T.to(device).unsqueeze(1))
      .sum()
      .backward();
  for (ops::Parameter* parameter : trunk.parameters()) {
    ops::collect_grad(*parameter);
    outcome.gradients.push_back(parameter->grad.cpu());
  }
  return outcome;
}

TEST_P(RoutersOnGpu, LeavePaddingOutAsOnTheCpu) {
  const Outcome expected = outcome_on("cpu", GetParam());
  const Outcome actual = outcome_on(test_device(), GetParam());
  expect_near_in_norm(actual.hidden_TH.narrow(0, 0, 10), expected.hidden_TH.narrow(0, 0, 10), 1e-4,
                      "hidden states");
  ASSERT_EQ(actual.token_offset_T1.size(), 2U);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    EXPECT_TRUE(actual.token_offset_T1[layer].equal(expected.token_offset_T1[layer]));
    const at::Tensor k_T = actual.token_offset_T1[layer].diff();
    EXPECT_EQ(k_T.narrow(0, 17, 13).sum().item<std::int64_t>(), 0) << "experts of padding";
    EXPECT_GT(k_T.sum().item<std::int64_t>(), 0);
  }
  for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
    expect_near_in_norm(actual.gradients[i], expected.gradients[i], 1e-3,
                        ("gradient of parameter " + std::to_string(i)).c_str());
  }
}

INSTANTIATE_TEST_SUITE_P(All, RoutersOnGpu, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace switchyard::train
