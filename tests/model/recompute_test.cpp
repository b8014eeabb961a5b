// Blocks that are computed again in the backward pass: the same bits, fewer bytes.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "model/decoder_fixture.h"
#include "support/counting_allocator.h"

namespace switchyard::model {
namespace {

using testing::CountingAllocator;

// What a step sees of its micro-batches.
struct StepResult {
  std::vector<double> losses;
  std::vector<at::Tensor> grads;
  std::vector<LayerRoute> routes;
};

struct StepOptions {
  bool recompute = false;
  std::uint64_t num_micro_batches = 2;
  std::function<void()> before_backward = {};
};

// The loss has all that the router's losses are made of.
StepResult run_step(Decoder& decoder, const StepOptions& options) {
  StepResult result;
  for (ops::Parameter* parameter : decoder.parameters()) ops::zero_grad(*parameter);
  for (std::uint64_t micro = 0; micro < options.num_micro_batches; ++micro) {
    const Batch batch =
        make_batch({random_tokens(7, 10 + 2 * micro), random_tokens(23, 11 + 2 * micro)});
    TrunkOutput out = decoder.forward(
        batch, {.step = 2, .training = true, .seed = 5, .recompute = options.recompute});
    at::Tensor loss = decoder.head().loss_sum(out.hidden_TH, batch.label_T);
    for (const LayerRoute& route : out.routes) {
      const at::Tensor& prob_sum_BE = route.sums.prob_sum_BE;
      loss = loss + (prob_sum_BE * route.sums.count_BE.to(prob_sum_BE.scalar_type())).sum() * 0.01 +
             route.sums.entropy_sum * 0.1 + route.sums.z_sum * 0.2;
      if (route.sums.weight_sum_E.defined()) {
        loss = loss + route.sums.weight_sum_E.square().sum() * 0.01;
      }
    }
    if (options.before_backward) options.before_backward();
    loss.backward();
    for (ops::Parameter* parameter : decoder.parameters()) ops::collect_grad(*parameter);
    result.losses.push_back(loss.item<double>());
    for (LayerRoute& route : out.routes) result.routes.push_back(std::move(route));
  }
  for (const ops::Parameter* parameter : decoder.parameters()) {
    result.grads.push_back(parameter->grad.clone());
  }
  return result;
}

void expect_same_bits(const StepResult& plain, const StepResult& recomputed) {
  EXPECT_EQ(plain.losses, recomputed.losses);
  ASSERT_EQ(plain.grads.size(), recomputed.grads.size());
  for (std::size_t i = 0; i < plain.grads.size(); ++i) {
    EXPECT_TRUE(at::equal(plain.grads[i], recomputed.grads[i])) << "parameter " << i;
    EXPECT_GT(plain.grads[i].abs().max().item<double>(), 0.0) << "zeros prove nothing";
  }
  ASSERT_EQ(plain.routes.size(), recomputed.routes.size());
  for (std::size_t i = 0; i < plain.routes.size(); ++i) {
    const LayerRoute& a = plain.routes[i];
    const LayerRoute& b = recomputed.routes[i];
    EXPECT_EQ(a.layer, b.layer);
    EXPECT_EQ(experts_of_tokens(a.routing), experts_of_tokens(b.routing));
    EXPECT_TRUE(at::equal(a.sums.count_BE, b.sums.count_BE));
    EXPECT_TRUE(at::equal(a.sums.k_histogram_E1, b.sums.k_histogram_E1));
    EXPECT_TRUE(at::equal(a.sums.prob_sum_BE, b.sums.prob_sum_BE));
    ASSERT_EQ(a.sums.named.size(), b.sums.named.size());
    for (const auto& [name, sum] : a.sums.named) {
      EXPECT_TRUE(at::equal(sum, b.sums.named.at(name))) << name;
    }
  }
}

// Experts in two of three blocks, and every option.
config::ModelConfig config_with(const config::RouterConfig& router) {
  config::ModelConfig config = small_config(router);
  config.num_layers = 3;
  config.moe.layers = {0, 2};
  config.dropout = 0.2;
  config.qk_norm = true;
  config.qkv_bias = true;
  return config;
}

class Recompute : public ::testing::TestWithParam<at::ScalarType> {};

INSTANTIATE_TEST_SUITE_P(All, Recompute, ::testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& instance) { return c10::toString(instance.param); });

TEST_P(Recompute, GivesTheBitsOfKeptActivationsForEveryRouter) {
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    const auto decoder = make_decoder(config_with(c.router), GetParam());
    const StepResult plain = run_step(*decoder, {.recompute = false});
    expect_same_bits(plain, run_step(*decoder, {.recompute = true}));
  }
}

TEST_P(Recompute, GivesTheBitsOfKeptActivationsWithASharedExpert) {
  config::ModelConfig config = config_with(config::RouterConfig(config::TopPOptions{.p = 0.5}));
  config.moe.shared_expert_size = 5;
  config.moe.shared_expert_gate = true;
  const auto decoder = make_decoder(config, GetParam());
  const StepResult plain = run_step(*decoder, {.recompute = false});
  expect_same_bits(plain, run_step(*decoder, {.recompute = true}));
}

TEST_P(Recompute, ReplaysTheFirstRouteEvenWhenTheRouterHasChangedSince) {
  const config::RouterConfig router(
      config::TopPOptions{.p = 0.2, .p_warmup = config::PWarmup{.from = 0.9, .steps = 10}});
  const auto decoder = make_decoder(config_with(router), GetParam());
  const StepResult plain = run_step(*decoder, {.recompute = false, .num_micro_batches = 1});
  const StepResult recomputed =
      run_step(*decoder, {.recompute = true, .num_micro_batches = 1, .before_backward = [&] {
                            for (const auto& [layer, of_layer] : decoder->routers()) {
                              of_layer->after_step({.step = 9});  // p is 0.2 from now on
                            }
                          }});
  expect_same_bits(plain, recomputed);
  const StepResult later = run_step(*decoder, {.recompute = false, .num_micro_batches = 1});
  EXPECT_LT(later.routes[0].routing.num_rows(), plain.routes[0].routing.num_rows())
      << "the change has no effect, so nothing was shown";
}

struct Memory {
  std::int64_t saved_bytes = 0;  // between forward and backward
  std::int64_t peak_bytes = 0;
  std::int64_t left_bytes = 0;  // when everything has gone
};

// Of a forward and backward pass, over what there was before.
Memory memory_of(Decoder& decoder, const Batch& batch, bool recompute) {
  const std::int64_t before = CountingAllocator::live_bytes;
  CountingAllocator::peak_bytes = before;
  Memory memory;
  {
    const TrunkOutput out =
        decoder.forward(batch, {.training = true, .seed = 5, .recompute = recompute});
    const at::Tensor loss = decoder.head().loss_sum(out.hidden_TH, batch.label_T);
    memory.saved_bytes = CountingAllocator::live_bytes - before;
    loss.backward();
    memory.peak_bytes = CountingAllocator::peak_bytes - before;
    for (ops::Parameter* parameter : decoder.parameters()) ops::collect_grad(*parameter);
  }
  memory.left_bytes = CountingAllocator::live_bytes - before;
  return memory;
}

TEST(RecomputeMemory, KeepsTheInputsOfTheBlocksAlone) {
  config::ModelConfig config = config_with(config::RouterConfig(config::TopPOptions{.p = 0.5}));
  config.hidden_size = 32;
  config.head_dim = 8;
  config.ffn_size = 64;
  config.num_layers = 8;
  config.moe.expert_size = 32;
  config.moe.layers = {1, 3, 5, 7};
  const auto decoder = make_decoder(config, at::kFloat);
  std::vector<std::vector<std::int64_t>> sequences;
  for (std::uint64_t b = 0; b < 8; ++b) sequences.push_back(random_tokens(64, b));
  const Batch batch = make_batch(sequences);
  (void)run_step(*decoder, {});  // what stays for good: gradients, tables
  (void)memory_of(*decoder, batch, false);
  const CountingAllocator allocator;
  const Memory plain = memory_of(*decoder, batch, false);
  const Memory recomputed = memory_of(*decoder, batch, true);
  const std::int64_t block_input_bytes = 8 * 64 * 32 * 4;
  EXPECT_EQ(plain.left_bytes, 0);
  EXPECT_EQ(recomputed.left_bytes, 0) << "the graph owns itself";
  EXPECT_GT(plain.saved_bytes, 8 * 10 * block_input_bytes);
  // Eight inputs of blocks, a few tensors around them, and the integers of the routes.
  EXPECT_LT(recomputed.saved_bytes, 8 * 2 * block_input_bytes);
  EXPECT_LT(3 * recomputed.peak_bytes, plain.peak_bytes);
}

}  // namespace
}  // namespace switchyard::model
