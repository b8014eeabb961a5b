// The trainer on ranks as threads, against one rank that computes the same micro-steps. Every rank
// has its own windows, and their labels differ in number, so that a mean over ranks is not the mean
// over labels. In a layout "4x2" experts are shared out over groups of two of four ranks.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "switchyard/comm/threads.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/train/model_files.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using telemetry::StepSums;

constexpr std::int64_t kMicroStep = 4;    // R * b
constexpr std::int64_t kGlobalBatch = 8;  // two micro-steps

data::Sample window_with_documents(std::int64_t idx, std::int64_t sequence_length) {
  data::Sample sample = tiny_window(idx, sequence_length);
  for (std::int64_t start = 3; start < 3 + 2 * (idx % 4); start += 2) {
    sample.document_start.push_back(start);
  }
  return sample;
}

NextTokenData data_with_documents(const config::Config& config) {
  const std::int64_t length = config.data.sequence_length;
  return {.window = [length](std::int64_t idx) { return window_with_documents(idx, length); },
          .attend_across_documents = config.data.attend_across_documents};
}

struct Layout {
  std::int64_t num_ranks = 1;
  std::int64_t expert = 1;
};

config::RouterConfig router_of(const std::string& name) {
  if (name == "top_p") {
    return config::RouterConfig(
        config::TopPOptions{.p_warmup = config::PWarmup{.from = 0.9, .steps = 8}});
  }
  if (name == "top_p_normalized") {
    return config::RouterConfig(config::TopPOptions{.target_k = 2.0, .normalize_logits = true});
  }
  if (name == "top_k_biased") {
    return config::RouterConfig(config::TopKOptions{.k = 2, .bias_rate = 0.01}, true);
  }
  if (name == "relu") return config::RouterConfig(config::ReluOptions{.l1_start = 1e-2});
  if (name == "expert_threshold") {
    return config::RouterConfig(config::ExpertThresholdOptions{.threshold_warmup = 2});
  }
  return name == "shared_expert" ? config::RouterConfig(config::TopPOptions{})
                                 : config::RouterConfig(name);
}

config::Config config_of(const std::string& router, std::int64_t num_ranks,
                         std::int64_t expert = 1) {
  config::Config config = tiny_config("fp64");
  config.parallel.expert = expert;
  config.data.attend_across_documents = false;
  config.model.dropout = 0.1;
  config.model.moe.layers = {0, 1};
  config.model.moe.router = router_of(router);
  if (router == "shared_expert") {
    config.model.moe.shared_expert_size = 20;
    config.model.moe.shared_expert_gate = true;
  }
  config.model.moe.loss.load_balance = 0.1;
  config.model.moe.loss.dynamic = 0.01;
  config.model.moe.loss.z = 0.01;
  config.optim.clip_norm = 0.5;  // below every norm of these runs
  config.train.global_batch_size = kGlobalBatch;
  config.train.micro_batch_size = kMicroStep / num_ranks;
  return config;
}

// What a run leaves that must not depend on the number of ranks.
struct Trace {
  std::vector<StepSums> steps;
  std::map<std::string, at::Tensor> weights;  // those held here
  std::map<std::string, at::Tensor> router_state;
  TrainerState state;
};

// Spoils a run before its step `step`, on rank `rank`, and mends it after: returns the mending.
using Spoil = std::function<std::function<void()>(TinyRun& run, std::int64_t rank, int step)>;

std::vector<Trace> train_on_ranks(const config::Config& config, std::int64_t num_ranks,
                                  int num_steps, const Spoil& spoil = {}) {
  std::vector<Trace> traces(static_cast<std::size_t>(num_ranks));
  comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
    TinyRun run(config, world.split(0, "run"), data_with_documents(config));
    Trace& trace = traces[static_cast<std::size_t>(world.rank())];
    for (int step = 1; step <= num_steps; ++step) {
      std::function<void()> mend;
      if (spoil) mend = spoil(run, world.rank(), step);
      trace.steps.push_back(run.trainer->train_step());
      if (mend) mend();
    }
    for (const checkpoint::NamedTensor& part : named_weights(*run.decoder)) {
      trace.weights[part.name] = part.tensor.clone();
    }
    for (const auto& [layer, router] : run.decoder->routers()) {
      for (const auto& [name, value] : router->state()) {
        trace.router_state[std::to_string(layer) + name] = value.clone();
      }
    }
    trace.state = run.trainer->state();
  });
  return traces;
}

void expect_same_losses(const telemetry::LossTerms& a, const telemetry::LossTerms& b) {
  EXPECT_NEAR(a.load_balance, b.load_balance, 1e-10);
  EXPECT_NEAR(a.dynamic, b.dynamic, 1e-10);
  EXPECT_NEAR(a.z, b.z, 1e-10);
  EXPECT_NEAR(a.l1, b.l1, 1e-10);
}

void expect_same_training(const Trace& actual, const Trace& expected) {
  ASSERT_EQ(actual.steps.size(), expected.steps.size());
  for (std::size_t i = 0; i < expected.steps.size(); ++i) {
    const StepSums& a = actual.steps[i];
    const StepSums& b = expected.steps[i];
    SCOPED_TRACE("step " + std::to_string(b.step));
    EXPECT_EQ(a.skipped, b.skipped);
    EXPECT_EQ(a.num_tokens, b.num_tokens);
    if (b.skipped) continue;
    EXPECT_NEAR(a.lm_loss, b.lm_loss, 1e-10);
    EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-10);
    ASSERT_EQ(a.layers.size(), b.layers.size());
    for (std::size_t layer = 0; layer < b.layers.size(); ++layer) {
      EXPECT_EQ(a.layers[layer].num_tokens, b.layers[layer].num_tokens);
      EXPECT_EQ(a.layers[layer].count_E, b.layers[layer].count_E);
      EXPECT_EQ(a.layers[layer].k_histogram_E1, b.layers[layer].k_histogram_E1);
      EXPECT_NEAR(a.layers[layer].entropy_sum, b.layers[layer].entropy_sum, 1e-8);  // of 128 tokens
      expect_same_losses(a.layers[layer].losses, b.layers[layer].losses);
      EXPECT_NEAR(a.layers[layer].router_grad_norm, b.layers[layer].router_grad_norm, 1e-10);
    }
  }
  for (const auto& [name, value] : actual.weights) {
    EXPECT_LT(value.sub(expected.weights.at(name)).abs().max().item<double>(), 1e-10) << name;
  }
  ASSERT_EQ(actual.router_state.size(), expected.router_state.size());
  for (const auto& [name, value] : expected.router_state) {
    EXPECT_TRUE(at::equal(actual.router_state.at(name), value)) << name;
  }
  EXPECT_EQ(actual.state.step, expected.state.step);
  EXPECT_EQ(actual.state.next_window, expected.state.next_window);
  EXPECT_EQ(actual.state.num_updates, expected.state.num_updates);
}

class TrainerOnRanks : public ::testing::TestWithParam<std::string> {};

constexpr Layout kLayouts[] = {{2, 1}, {4, 1}, {2, 2}, {4, 2}, {4, 4}};

TEST_P(TrainerOnRanks, TrainsAsOneRankDoes) {
  constexpr int kSteps = 5;
  const Trace alone = train_on_ranks(config_of(GetParam(), 1), 1, kSteps).front();
  EXPECT_GT(alone.steps.front().grad_norm, config_of(GetParam(), 1).optim.clip_norm);
  for (const Layout& layout : kLayouts) {
    const std::vector<Trace> traces = train_on_ranks(
        config_of(GetParam(), layout.num_ranks, layout.expert), layout.num_ranks, kSteps);
    std::set<std::string> names;
    for (std::int64_t rank = 0; rank < layout.num_ranks; ++rank) {
      SCOPED_TRACE(fmt::format("rank {} of {}x{}", rank, layout.num_ranks, layout.expert));
      const Trace& trace = traces[static_cast<std::size_t>(rank)];
      expect_same_training(trace, alone);
      for (const auto& [name, value] : trace.weights) names.insert(name);
    }
    EXPECT_EQ(names.size(), alone.weights.size());
  }
}

TEST_P(TrainerOnRanks, RecomputedBlocksExchangeTheSameRows) {
  config::Config config = config_of(GetParam(), 1);
  config.train.recompute = true;
  const Trace alone = train_on_ranks(config, 1, 2).front();
  config = config_of(GetParam(), 4, 2);
  config.train.recompute = true;
  for (const Trace& trace : train_on_ranks(config, 4, 2)) expect_same_training(trace, alone);
}

TEST_P(TrainerOnRanks, StayTheSameBitForBit) {
  for (const std::int64_t expert : {1, 2}) {
    const std::vector<Trace> traces = train_on_ranks(config_of(GetParam(), 4, expert), 4, 3);
    for (std::size_t rank = 0; rank < traces.size(); ++rank) {
      const Trace& trace = traces[rank];
      const Trace& same = traces[rank % static_cast<std::size_t>(expert)];
      for (const auto& [name, value] : trace.weights) {
        EXPECT_TRUE(at::equal(value, same.weights.at(name))) << name;
      }
      for (std::size_t i = 0; i < trace.steps.size(); ++i) {
        EXPECT_EQ(trace.steps[i].lm_loss, traces.front().steps[i].lm_loss);
        EXPECT_EQ(trace.steps[i].grad_norm, traces.front().steps[i].grad_norm);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrainerOnRanks,
                         ::testing::Values("top_k", "top_p", "attention_importance",
                                           "top_p_normalized", "top_k_biased", "relu",
                                           "expert_threshold", "shared_expert"),
                         [](const auto& instance) { return instance.param; });

// Only one rank sees the poison; its loss is not finite.
TEST(RanksTogether, SkipAStepTogetherWhenOneRanksLossIsNotFinite) {
  const Spoil spoil = [](TinyRun& run, std::int64_t rank, int step) -> std::function<void()> {
    if (rank != run.groups->world().size() - 1 || step != 2) return {};
    ops::Parameter* parameter = run.decoder->parameters().front();
    const at::Tensor before = parameter->value.detach().clone();
    parameter->value.detach().fill_(std::numeric_limits<double>::quiet_NaN());
    return [parameter, before] { parameter->value.detach().copy_(before); };
  };
  const std::string router = "attention_importance";
  const Trace alone = train_on_ranks(config_of(router, 1), 1, 4, spoil).front();
  ASSERT_TRUE(alone.steps[1].skipped);
  EXPECT_EQ(alone.state.num_updates, 3);
  for (const Layout& layout : {Layout{2, 1}, Layout{4, 2}}) {
    const config::Config config = config_of(router, layout.num_ranks, layout.expert);
    for (const Trace& trace : train_on_ranks(config, layout.num_ranks, 4, spoil)) {
      expect_same_training(trace, alone);
    }
  }
}

// The loss of every rank is finite, and so is the gradient of all ranks but one.
TEST(RanksTogether, SkipAStepTogetherWhenOneRanksGradientIsNotFinite) {
  const Spoil spoil = [](TinyRun& run, std::int64_t rank, int step) -> std::function<void()> {
    if (rank != run.groups->world().size() - 1 || step != 2) return {};
    for (ops::Parameter* parameter : run.decoder->parameters()) {
      if (parameter->name.find("input_norm") == std::string::npos) continue;
      const unsigned hook = parameter->value.register_hook(
          [](const at::Tensor& grad) { return grad.mul(std::numeric_limits<double>::infinity()); });
      return [parameter, hook] { parameter->value.remove_hook(hook); };
    }
    throw InternalError("the model has no norm");
  };
  const Trace alone = train_on_ranks(config_of("top_p", 1), 1, 4, spoil).front();
  ASSERT_TRUE(alone.steps[1].skipped);
  EXPECT_TRUE(std::isfinite(alone.steps[1].lm_loss));
  for (const std::int64_t expert : {1, 2}) {
    for (const Trace& trace : train_on_ranks(config_of("top_p", 4, expert), 4, 4, spoil)) {
      expect_same_training(trace, alone);
    }
  }
}

TEST(RanksTogether, RefuseABatchThatCannotBeCutOverThem) {
  config::Config config = config_of("top_k", 1);
  EXPECT_THROW(train_on_ranks(config, 4, 1), UsageError);  // 8 windows, 4 ranks of 4
}

}  // namespace
}  // namespace switchyard::train
