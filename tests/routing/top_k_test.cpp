#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

// One token whose probabilities over four experts are exactly 1/8, 1/2, 1/8, 1/4 up to rounding.
RouterInput one_token() {
  RouterInput input = make_input({1}, {}, 1, at::kFloat, 4);
  input.x_TH = at::tensor({0.125, 0.5, 0.125, 0.25}, at::kDouble).log().to(at::kFloat).view({1, 4});
  return input;
}

std::vector<Choice> choose(const config::RouterConfig& config) {
  return choices(build_identity_router(config, 4)->route(one_token()).routing)[0];
}

TEST(TopK, TakesTheMostProbableExpertsWithTheirProbabilities) {
  const std::vector<Choice> got = choose(top_k_config(2, false));
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[0].expert, 1);
  EXPECT_NEAR(got[0].weight, 0.5, 1e-6);
  EXPECT_EQ(got[1].expert, 3);
  EXPECT_NEAR(got[1].weight, 0.25, 1e-6);
}

TEST(TopK, RenormalizedWeightsAreSharesOfTheSelected) {
  const std::vector<Choice> got = choose(top_k_config(2, true));
  ASSERT_EQ(got.size(), 2U);
  EXPECT_NEAR(got[0].weight, 2.0 / 3.0, 1e-6);
  EXPECT_NEAR(got[1].weight, 1.0 / 3.0, 1e-6);
}

TEST(TopK, TakesTheLowerOfTwoEquallyProbableExperts) {
  const std::vector<Choice> got = choose(top_k_config(3, false));
  ASSERT_EQ(got.size(), 3U);
  EXPECT_EQ(got[0].expert, 0);
  EXPECT_EQ(got[1].expert, 1);
  EXPECT_EQ(got[2].expert, 3);
}

TEST(TopK, RefusesMoreExpertsThanThereAreOrNone) {
  EXPECT_THROW((void)build_router(top_k_config(0, false)), UsageError);
  EXPECT_THROW((void)build_router(top_k_config(-1, false)), UsageError);
  EXPECT_THROW((void)build_router(top_k_config(kExperts + 1, false)), UsageError);
}

TEST(TopK, RefusesToRenormalizeASingleExpert) {
  EXPECT_THROW((void)build_router(top_k_config(1, true)), UsageError);
}

TEST(TopK, RefusesStatesOfAnotherWidth) {
  const auto router = build_router(top_k_config(2, true));
  EXPECT_THROW((void)router->route(make_input({2}, {}, 1, at::kFloat, kHidden + 1)), InternalError);
}

std::vector<double> biases(const Router& router) {
  const at::Tensor bias_E = router.state().at("bias").to(at::kDouble);
  return {bias_E.const_data_ptr<double>(), bias_E.const_data_ptr<double>() + bias_E.numel()};
}

TEST(TopKBias, IsMovedByTheSignOfWhatTheLoadLacksAndCentred) {
  const auto router = build_identity_router(biased_top_k_config(1, false), 4);
  const auto expect_biases = [&](const std::vector<double>& expected) {
    for (std::size_t e = 0; e < 4; ++e) EXPECT_NEAR(biases(*router)[e], expected[e], 1e-7) << e;
  };
  router->after_step({.num_tokens = 20, .count_E = {10, 0, 5, 5}});
  expect_biases({-0.05, 0.05, 0.0, 0.0});
  router->after_step({.num_tokens = 20, .count_E = {20, 0, 0, 0}});
  expect_biases({-0.1 - 0.025, 0.1 - 0.025, 0.05 - 0.025, 0.05 - 0.025});
  const std::vector<double> got = biases(*router);
  router->after_step({.num_tokens = 20, .count_E = {5, 5, 5, 5}});
  router->after_step({.step = 3});
  EXPECT_EQ(biases(*router), got) << "an even load and a step without tokens change nothing";
  EXPECT_NEAR(router->gauges().at("bias_range"), 0.2, 1e-6);
}

TEST(TopKBias, IsSeenByTheChoiceAndNotByTheWeights) {
  for (const bool renormalize : {false, true}) {
    const auto router = build_identity_router(biased_top_k_config(2, renormalize), 4);
    router->load_state({{"bias", at::tensor({0.0F, -0.1F, 0.2F, -0.1F})}});
    const std::vector<Choice> got = choices(router->route(one_token()).routing)[0];
    ASSERT_EQ(got.size(), 2U);  // of 1/8, 4/10, 3.25/10, 1.5/10
    EXPECT_EQ(got[0].expert, 1);
    EXPECT_NEAR(got[0].weight, renormalize ? 0.8 : 0.5, 1e-6);
    EXPECT_EQ(got[1].expert, 2);
    EXPECT_NEAR(got[1].weight, renormalize ? 0.2 : 0.125, 1e-6);
  }
}

TEST(TopKBias, BeforeItMovesRoutesAsNoneDoes) {
  const RouterInput input = padded_input(5);
  for (const bool renormalize : {false, true}) {
    const auto plain = choices(build_router(top_k_config(3, renormalize))->route(input).routing);
    const auto biased =
        choices(build_router(biased_top_k_config(3, renormalize))->route(input).routing);
    for (std::size_t token = 0; token < plain.size(); ++token) {
      ASSERT_EQ(biased[token].size(), plain[token].size());
      for (std::size_t i = 0; i < plain[token].size(); ++i) {
        EXPECT_EQ(biased[token][i].expert, plain[token][i].expert);
        EXPECT_NEAR(biased[token][i].weight, plain[token][i].weight, 1e-6);
      }
    }
  }
}

TEST(TopKBias, EvensTheLoadOfARouterThatFavoursOneExpert) {
  const auto router = build_identity_router(biased_top_k_config(1, false), 4);
  RouterInput input = make_input({256}, {}, 9, at::kFloat, 4);
  input.x_TH.select(1, 2).add_(1.5);
  const auto largest_share = [&] {
    const GlobalSums sums = global_sums(router->route(input).sums, 0);
    router->after_step(sums);
    return static_cast<double>(*std::max_element(sums.count_E.begin(), sums.count_E.end())) / 256.0;
  };
  EXPECT_GT(largest_share(), 0.9);
  for (int step = 0; step < 60; ++step) (void)largest_share();
  double mean = 0.0;
  for (int step = 0; step < 20; ++step) mean += largest_share() / 20.0;
  EXPECT_LT(mean, 0.5);
}

TEST(TopKBias, RefusesARateThatIsNone) {
  config::RouterConfig config = biased_top_k_config(2, false);
  for (const double rate : {-1e-3, 1.5, std::nan("")}) {
    config.options.as<config::TopKOptions>().bias_rate = rate;
    EXPECT_THROW((void)build_router(config), UsageError) << rate;
  }
}

}  // namespace
}  // namespace switchyard::routing
