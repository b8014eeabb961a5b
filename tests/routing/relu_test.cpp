#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/core/error.h"
#include "switchyard/routing/losses.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

float coefficient(const Router& router) {
  return router.state().at("l1_coefficient").item<float>();
}

TEST(Relu, TakesTheExpertsWhoseLogitIsAboveZeroWeightedByIt) {
  const auto router = build_identity_router(relu_config(2.0), 4);
  RouterInput input = make_input({3}, {}, 1, at::kFloat, 4);
  input.x_TH = at::tensor({0.5, -1.0, 2.0, 0.0, -0.1, -0.2, -0.3, 0.0, 3.0, 1.0, 0.25, 4.0})
                   .to(at::kFloat)
                   .view({3, 4});
  const RouteResult result = router->route(input);
  const auto got = choices(result.routing);
  ASSERT_EQ(got[0].size(), 2U);
  EXPECT_EQ(got[0][0].expert, 0);
  EXPECT_EQ(got[0][0].weight, 0.5);
  EXPECT_EQ(got[0][1].expert, 2);
  EXPECT_EQ(got[0][1].weight, 2.0);
  EXPECT_TRUE(got[1].empty()) << "a token that no expert wants is left to the residual stream";
  EXPECT_EQ(got[2].size(), 4U);
  EXPECT_EQ(result.sums.weight_sum_E[0].item<float>(), 3.5F);
  EXPECT_EQ(result.sums.weight_sum_E[3].item<float>(), 4.0F);
}

TEST(Relu, MovesTheCoefficientTowardTheTarget) {
  const auto router = build_router(relu_config(2.0, "layer"));
  const float start = coefficient(*router);
  EXPECT_FLOAT_EQ(start, 1e-8F);
  router->after_step({.num_tokens = 10, .count_E = {10, 10, 1, 0, 0, 0}});
  EXPECT_FLOAT_EQ(coefficient(*router), 1.2e-8F);
  router->after_step({.num_tokens = 10, .count_E = {10, 10, 0, 0, 0, 0}});
  EXPECT_FLOAT_EQ(coefficient(*router), 1.2e-8F) << "on target";
  for (int step = 0; step < 2; ++step) {
    router->after_step({.num_tokens = 10, .count_E = {10, 9, 0, 0, 0, 0}});
  }
  EXPECT_FLOAT_EQ(coefficient(*router), 1e-8F / 1.2F);
  router->after_step({.step = 9});
  EXPECT_FLOAT_EQ(coefficient(*router), 1e-8F / 1.2F) << "a step without tokens";
  EXPECT_FLOAT_EQ(static_cast<float>(router->gauges().at("l1_coefficient")), 1e-8F / 1.2F);
}

TEST(Relu, OfTheModelIsTheMeanOfAllLayers) {
  for (const char* control : {"model", "layer"}) {
    const auto router = build_router(relu_config(2.0, control));
    const float before = coefficient(*router);
    // This layer gives 3 experts to a token, all layers together 1.
    router->after_step({.num_tokens = 10,
                        .count_E = std::vector<std::int64_t>(kExperts, 30 / kExperts),
                        .model_experts_per_token = 1.0});
    EXPECT_EQ(coefficient(*router) > before, control == std::string("layer")) << control;
  }
  EXPECT_THROW((void)build_router(relu_config(2.0, "head")), UsageError);
}

TEST(Relu, DoesNotWindTheCoefficientUp) {
  const auto router = build_router(relu_config(2.0, "layer"));
  const GlobalSums too_few{.num_tokens = 10, .count_E = {0, 0, 0, 0, 0, 0}};
  const GlobalSums too_many{.num_tokens = 10, .count_E = {10, 10, 10, 10, 10, 10}};
  for (int step = 0; step < 1000; ++step) router->after_step(too_few);
  EXPECT_GT(coefficient(*router), 0.0F);
  for (int step = 0; step < 100; ++step) router->after_step(too_many);
  EXPECT_GT(coefficient(*router), 1e-8F);
  for (int step = 0; step < 1000; ++step) router->after_step(too_many);
  EXPECT_TRUE(std::isfinite(coefficient(*router)));
}

// lambda E / (k T^2) sum_e n_e sum_t w_te, in two micro-steps of two ranks' tokens.
TEST(Relu, L1LossIsThePapersAndIsWeightedByTheLoad) {
  const auto router = build_router(relu_config(2.5), true, at::kDouble);
  const RouterInput whole = make_input({4, 6}, {2, 7}, 3, at::kDouble);
  const RouteResult routed = router->route(whole);
  double expected = 0.0;
  std::vector<double> count_E(kExperts, 0.0);
  std::vector<double> weight_E(kExperts, 0.0);
  for (const auto& token : choices(routed.routing)) {
    for (const Choice& choice : token) {
      count_E[static_cast<std::size_t>(choice.expert)] += 1.0;
      weight_E[static_cast<std::size_t>(choice.expert)] += choice.weight;
    }
  }
  for (std::size_t e = 0; e < count_E.size(); ++e) expected += count_E[e] * weight_E[e];
  expected *= 1e-8 * 6.0 / (2.5 * 8.0 * 8.0);
  ASSERT_GT(expected, 0.0);
  const MicroStepCounts counts{.count_E = routed.sums.count_BE.sum(0), .num_tokens = 8};
  config::MoeLossConfig config;
  config.scope = "sequence";
  const LossShares shares = loss_shares(routed.sums, counts, 8, config);
  const double got = routed.sums.l1_coefficient * shares.l1.item<double>();
  EXPECT_NEAR(got / expected, 1.0, 1e-6);
  // Split over two ranks, their shares are of the same whole.
  double sum = 0.0;
  for (const std::int64_t begin : {0, 4}) {
    const std::int64_t length = begin == 0 ? 4 : 6;
    RouterInput part = whole;
    part.x_TH = whole.x_TH.narrow(0, begin, length);
    part.valid_T = whole.valid_T.narrow(0, begin, length);
    part.sequence_offset_B1 = offsets({length});
    const RouteResult of_rank = router->route(part);
    sum += loss_shares(of_rank.sums, counts, 8, config).l1.item<double>();
  }
  EXPECT_NEAR(sum, shares.l1.item<double>(), 1e-12);
  EXPECT_EQ(loss_shares(routed.sums, counts, 0, config).l1.item<double>(), 0.0);
}

// The rule at work: something pulls all weights up, the L1 loss down.
TEST(Relu, HoldsTheMeanNumberOfExpertsWhereItIsPut) {
  constexpr std::int64_t kWide = 8;
  const auto router =
      build_router(relu_config(2.0), true, at::kDouble, kWide, /*hidden_size=*/kWide);
  RouterInput input = make_input({128}, {}, 21, at::kDouble, kWide);
  input.x_TH.select(1, 0).fill_(1.0);  // states are not symmetric about 0
  const at::Tensor& weight_EH = router->weight().value;
  double mean_k = 0.0;
  for (int step = 0; step < 1500; ++step) {
    const RouteResult routed = router->route(input);
    const GlobalSums sums = global_sums(routed.sums, step);
    const MicroStepCounts counts{.count_E = routed.sums.count_BE.sum(0), .num_tokens = 128};
    const at::Tensor l1 = loss_shares(routed.sums, counts, 128, {}).l1;
    const at::Tensor objective =
        l1.mul(routed.sums.l1_coefficient).sub(routed.sums.weight_sum_E.sum().div(128.0 * 20.0));
    objective.backward();
    weight_EH.detach().sub_(weight_EH.grad(), 0.2);
    weight_EH.mutable_grad().reset();
    router->after_step(sums);
    if (step >= 1200) mean_k += sums.model_experts_per_token / 300.0;
  }
  EXPECT_NEAR(mean_k, 2.0, 0.2);
}

TEST(Relu, ATokenWithoutAFiniteLogitGoesToExpertZeroWithWeightNan) {
  const auto router = build_identity_router(relu_config(2.0), 4);
  RouterInput input = make_input({2}, {}, 1, at::kFloat, 4);
  input.x_TH[0].fill_(std::nan(""));
  const auto got = choices(router->route(input).routing);
  ASSERT_EQ(got[0].size(), 1U);
  EXPECT_EQ(got[0][0].expert, 0);
  EXPECT_TRUE(std::isnan(got[0][0].weight));
}

TEST(Relu, RefusesTargetsAndStatesThatCannotBe) {
  EXPECT_THROW((void)build_router(relu_config(0.0)), UsageError);
  EXPECT_THROW((void)build_router(relu_config(kExperts + 0.5)), UsageError);
  config::RouterConfig config = relu_config(2.0);
  config.options.as<config::ReluOptions>().l1_factor = 1.0;
  EXPECT_THROW((void)build_router(config), UsageError);
  const auto router = build_router(relu_config(2.0));
  EXPECT_THROW(router->load_state({{"l1_coefficient", at::full({}, 0.0F, at::kFloat)}}), DataError);
}

}  // namespace
}  // namespace switchyard::routing
