#include "switchyard/model/trunk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "model/decoder_fixture.h"
#include "support/tensors.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/model/kv_cache.h"

namespace switchyard::model {
namespace {

using testing::expect_close;

const ops::PrecisionPolicy kFp64{.compute = at::kDouble};

std::unique_ptr<Trunk> make_trunk(bool causal, const config::RouterConfig& router) {
  auto trunk = std::make_unique<Trunk>(
      small_config(router),
      TrunkBuild{.sequence_length = kSequenceLength, .precision = kFp64, .causal = causal});
  for (ops::Parameter* parameter : trunk->parameters()) {
    // Attention that prefers some keys, or every token would receive about the same.
    if (parameter->name.find("qkv_proj") != std::string::npos) parameter->init_std *= 5.0;
    ops::initialize(*parameter, 3);
    ops::zero_grad(*parameter);
  }
  return trunk;
}

config::RouterConfig top_p() {
  return config::RouterConfig(config::TopPOptions{.p = 0.5});
}

config::RouterConfig received(const std::string& allocation) {
  return config::RouterConfig(config::AttentionImportanceOptions{.importance = "attention_received",
                                                                 .allocation = allocation});
}

at::Tensor hidden(Trunk& trunk, const std::vector<std::vector<std::int64_t>>& sequences) {
  return trunk.forward(make_batch(sequences), {.training = true}).hidden_TH.detach();
}

TEST(Trunk, CausalTokensDoNotSeeLaterOnesAndOthersDo) {
  const std::vector<std::int64_t> tokens{3, 1, 4, 1, 5, 9, 2, 6};
  std::vector<std::int64_t> changed = tokens;
  changed.back() = 7;
  for (const bool causal : {true, false}) {
    const auto trunk = make_trunk(causal, top_p());
    const at::Tensor before = hidden(*trunk, {tokens}).narrow(0, 0, 7);
    const at::Tensor after = hidden(*trunk, {changed}).narrow(0, 0, 7);
    // Not the same bits: the last token may go to other experts, and a product of more rows may
    // round its others differently.
    for (std::int64_t t = 0; t < 7; ++t) {
      const double difference = before[t].sub(after[t]).abs().max().item<double>();
      EXPECT_EQ(difference < 1e-12, causal) << "token " << t << " differs by " << difference;
    }
  }
}

TEST(Trunk, BidirectionalSequencesDoNotSeeEachOther) {
  const std::vector<std::vector<std::int64_t>> sequences{{3, 1, 4, 1, 5}, {9, 2, 6}};
  for (const config::RouterConfig& router :
       {top_p(), received("proportional"), received("budget")}) {
    const auto trunk = make_trunk(/*causal=*/false, router);
    const at::Tensor packed = hidden(*trunk, sequences);
    expect_close(packed.narrow(0, 0, 5), hidden(*trunk, {sequences[0]}), 1e-12, 1e-12);
    expect_close(packed.narrow(0, 5, 3), hidden(*trunk, {sequences[1]}), 1e-12, 1e-12);
  }
}

TEST(Trunk, BidirectionalRoutersMayReadWhatATokenReceives) {
  const auto trunk = make_trunk(/*causal=*/false, received("budget"));
  const std::vector<std::int64_t> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  const TrunkOutput output = trunk->forward(make_batch({tokens}), {.training = true});
  ASSERT_FALSE(output.routes.empty());
  for (const LayerRoute& route : output.routes) {
    EXPECT_EQ(route.routing.num_rows(), 20) << "the budget is k_mean (2) for each of 10 tokens";
    const at::Tensor k_T = route.routing.token_offset_T1.diff();
    EXPECT_LT(k_T.min().item<std::int64_t>(), k_T.max().item<std::int64_t>());
  }
  EXPECT_TRUE(trunk->routers().begin()->second->state().empty()) << "only causal ones remember";
}

TEST(Trunk, CausalRefusesWhatLooksAhead) {
  EXPECT_THROW((void)make_trunk(/*causal=*/true, received("proportional")), UsageError);
}

TEST(Trunk, BidirectionalRefusesACache) {
  const auto trunk = make_trunk(/*causal=*/false, top_p());
  KvCache cache(trunk->config(), 1, 8, kFp64);
  EXPECT_THROW((void)trunk->forward(make_batch({{1, 2}}), {.cache = &cache}), InternalError);
}

// The gradient of one embedding row reaches it through tokens before and behind it.
TEST(Trunk, BidirectionalGradientsMatchDifferences) {
  const auto trunk = make_trunk(/*causal=*/false, received("proportional"));
  const Batch batch = make_batch({{3, 1, 4, 1, 5}, {9, 2, 6}});
  const at::Tensor weight = testing::random_normal({8, trunk->config().hidden_size}, 5);
  const auto loss = [&] {
    return (trunk->forward(batch, {.training = true}).hidden_TH * weight).sum();
  };
  loss().backward();
  for (ops::Parameter* parameter : trunk->parameters()) {
    ops::collect_grad(*parameter);
    const at::Tensor flat = parameter->master.detach().view({-1});
    for (const std::int64_t i : {std::int64_t{0}, flat.numel() / 2, flat.numel() - 1}) {
      constexpr double kStep = 1e-6;
      const double value = flat[i].item<double>();
      const auto at_value = [&](double x) {
        flat[i].fill_(x);
        ops::publish(*parameter);
        const double result = loss().item<double>();
        flat[i].fill_(value);
        ops::publish(*parameter);
        return result;
      };
      const double difference = (at_value(value + kStep) - at_value(value - kStep)) / (2 * kStep);
      const double gradient = parameter->grad.view({-1})[i].item<double>();
      EXPECT_NEAR(gradient, difference, 1e-5 * std::max(1.0, std::abs(difference)))
          << parameter->name << " element " << i;
    }
  }
}

}  // namespace
}  // namespace switchyard::model
