#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

// Experts that a token with four equal logits, probabilities exactly 1/4 each, gets.
std::int64_t experts_of_four_equal(double p) {
  const auto router = build_identity_router(top_p_config(p), 4);
  RouterInput input = make_input({1}, {}, 1, at::kFloat, 4);
  input.x_TH.zero_();
  return experts_per_token(router->route(input).routing)[0];
}

double neighbour(double p, double towards) {
  return static_cast<double>(std::nextafter(static_cast<float>(p), static_cast<float>(towards)));
}

TEST(TopP, ReachingPExactlyIsEnough) {
  for (const int experts : {1, 2, 3}) {
    const double p = 0.25 * experts;
    EXPECT_EQ(experts_of_four_equal(p), experts);
    EXPECT_EQ(experts_of_four_equal(neighbour(p, 0.0)), experts);
    EXPECT_EQ(experts_of_four_equal(neighbour(p, 1.0)), experts + 1);
  }
  EXPECT_EQ(experts_of_four_equal(neighbour(1.0, 0.0)), 4);
}

TEST(TopP, TinyPKeepsOneExpert) {
  EXPECT_EQ(experts_of_four_equal(1e-30), 1);
  EXPECT_EQ(experts_of_four_equal(1e-300), 1);
}

TEST(TopP, OneKeepsEveryExpertEvenWhereTheSumReachesItEarly) {
  const auto router = build_identity_router(top_p_config(1.0), 4);
  RouterInput input = make_input({1}, {}, 1, at::kFloat, 4);
  input.x_TH = at::tensor({0.0, -200.0, -30.0, -1000.0}, at::kDouble).to(at::kFloat).view({1, 4});
  EXPECT_EQ(experts_per_token(router->route(input).routing)[0], 4);
}

// The definition as a plain loop over sorted probabilities.
std::vector<std::int64_t> shortest_prefix(const double* logits, std::int64_t num_experts,
                                          double p) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(num_experts));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return logits[a] > logits[b]; });
  double total = 0.0;
  for (std::int64_t e = 0; e < num_experts; ++e) {
    total += std::exp(logits[e]);
  }
  double sum = 0.0;
  std::size_t kept = 0;
  while (kept < order.size() && (kept == 0 || sum < p)) {
    sum += std::exp(logits[order[kept]]) / total;
    ++kept;
  }
  order.resize(kept);
  std::sort(order.begin(), order.end());
  return order;
}

TEST(TopP, KeepsTheShortestPrefixThatReachesP) {
  constexpr std::int64_t kWide = 9;
  const RouterInput input = [] {
    RouterInput made = make_input({40}, {}, 5, at::kDouble, kWide);
    made.x_TH.mul_(4.0);
    return made;
  }();
  std::vector<std::int64_t> seen;
  for (const double p : {0.05, 0.4, 0.77, 0.97}) {
    const auto router = build_identity_router(top_p_config(p), kWide, true, at::kDouble);
    const ops::Routing routing = router->route(input).routing;
    for (std::int64_t token = 0; token < 40; ++token) {
      const auto expected =
          shortest_prefix(input.x_TH.const_data_ptr<double>() + token * kWide, kWide, p);
      EXPECT_EQ(chosen_experts(routing, token), expected) << "token " << token << ", p " << p;
      seen.push_back(static_cast<std::int64_t>(expected.size()));
    }
  }
  EXPECT_GE(*std::max_element(seen.begin(), seen.end()), 6);  // a variable number, indeed
}

TEST(TopP, WeightsAreTheRawProbabilities) {
  const auto router = build_identity_router(top_p_config(0.9), 4);
  RouterInput input = make_input({1}, {}, 1, at::kFloat, 4);
  input.x_TH = at::tensor({0.125, 0.5, 0.125, 0.25}, at::kDouble).log().to(at::kFloat).view({1, 4});
  const auto got = choices(router->route(input).routing)[0];
  ASSERT_EQ(got.size(), 4U);
  EXPECT_NEAR(got[1].weight, 0.5, 1e-6);
  EXPECT_NEAR(got[3].weight, 0.25, 1e-6);
}

TEST(TopP, MaxExpertsLimitsATokenNotTheBatch) {
  const auto router = build_identity_router(limited_top_p_config(0.9, 2), 4);
  RouterInput input = make_input({3}, {}, 1, at::kFloat, 4);
  input.x_TH.zero_();
  input.x_TH[2][3].fill_(20.0);
  EXPECT_EQ(experts_per_token(router->route(input).routing), (std::vector<std::int64_t>{2, 2, 1}));
  EXPECT_NEAR(choices(router->route(input).routing)[0][0].weight, 0.5, 1e-6);
}

float current_p(const Router& router) {
  return router.state().at("p").item<float>();
}

TEST(TopPWarmup, MovesLinearlyWithTheStep) {
  const auto router = build_router(warming_top_p_config(0.4, 1.0, 4));
  std::vector<float> p = {current_p(*router)};
  for (std::int64_t step = 0; step < 6; ++step) {
    router->after_step({.step = step});
    p.push_back(current_p(*router));
  }
  const std::vector<float> expected = {1.0F, 0.85F, 0.7F, 0.55F, 0.4F, 0.4F, 0.4F};
  ASSERT_EQ(p.size(), expected.size());
  for (std::size_t i = 0; i < p.size(); ++i) {
    EXPECT_FLOAT_EQ(p[i], expected[i]) << "after " << i << " steps";
  }
}

TEST(TopPWarmup, DecidesHowManyExpertsATokenGets) {
  const auto router = build_identity_router(warming_top_p_config(0.25, 1.0, 3), 4);
  RouterInput input = make_input({1}, {}, 1, at::kFloat, 4);
  input.x_TH.zero_();
  std::vector<std::int64_t> experts;
  for (std::int64_t step = 0; step < 4; ++step) {
    experts.push_back(experts_per_token(router->route(input).routing)[0]);
    router->after_step({.step = step});
  }
  EXPECT_EQ(experts, (std::vector<std::int64_t>{4, 3, 2, 1}));
}

TEST(TopPWarmup, CatchesUpAfterSkippedSteps) {
  const auto steady = build_router(warming_top_p_config(0.4, 1.0, 10));
  const auto skipping = build_router(warming_top_p_config(0.4, 1.0, 10));
  for (std::int64_t step = 0; step < 6; ++step) {
    steady->after_step({.step = step});
    if (step == 0 || step == 5) {
      skipping->after_step({.step = step});
    }
  }
  EXPECT_EQ(current_p(*steady), current_p(*skipping));
}

TEST(TopPWarmup, OfNoStepsOrFinishedIsAsNone) {
  // The first probability lies between 0.4 and 0.4 rounded to fp32, as which the state is kept.
  const double first = 0.400000003;
  ASSERT_LT(first, static_cast<double>(0.4F));
  RouterInput input = make_input({1}, {}, 1, at::kDouble, 3);
  input.x_TH = at::tensor({first, 0.3, 1.0 - 0.3 - first}, at::kDouble).log().view({1, 3});
  const auto experts_of = [&](const config::RouterConfig& config, std::int64_t steps) {
    const auto router = build_identity_router(config, 3, true, at::kDouble);
    for (std::int64_t step = 0; step < steps; ++step) {
      router->after_step({.step = step});
    }
    return experts_per_token(router->route(input).routing)[0];
  };
  EXPECT_EQ(experts_of(top_p_config(0.4), 0), 1);
  EXPECT_EQ(experts_of(warming_top_p_config(0.4, 1.0, 0), 0), 1);
  EXPECT_EQ(experts_of(warming_top_p_config(0.4, 1.0, 3), 2), 2);
  EXPECT_EQ(experts_of(warming_top_p_config(0.4, 1.0, 3), 3), 1);
  EXPECT_TRUE(build_router(top_p_config(0.4))->state().empty());
}

TEST(TopPWarmup, RefusesAStateThatIsNoProbability) {
  const auto router = build_router(warming_top_p_config(0.4, 1.0, 3));
  for (const float p : {0.0F, -0.5F, 1.5F}) {
    EXPECT_THROW(router->load_state({{"p", at::full({}, p, at::kFloat)}}), DataError) << p;
  }
}

// A router that grows sure, as training makes it: after `steps` steps its logits are ten times as
// large. Returns the mean experts per token of every step.
std::vector<double> mean_k_while_growing_sure(Router& router, std::int64_t num_experts,
                                              std::int64_t steps) {
  RouterInput input = make_input({256}, {}, 7, at::kFloat, num_experts);
  const at::Tensor start_TH = input.x_TH.mul(0.5);
  std::vector<double> mean_k;
  for (std::int64_t step = 0; step < steps; ++step) {
    const double share = static_cast<double>(step) / static_cast<double>(steps);
    input.x_TH = start_TH.mul(1.0 + 9.0 * share);
    const GlobalSums sums = global_sums(router.route(input).sums, step);
    mean_k.push_back(sums.model_experts_per_token);
    router.after_step(sums);
  }
  return mean_k;
}

TEST(TopPTarget, HoldsTheMeanWhileTheRouterGrowsSure) {
  for (const std::int64_t num_experts : {8, 16, 64}) {
    SCOPED_TRACE(num_experts);
    const auto free = build_identity_router(top_p_config(0.4), num_experts);
    const std::vector<double> drifting = mean_k_while_growing_sure(*free, num_experts, 600);
    EXPECT_LT(drifting.back(), drifting.front() / 2.0) << "without a target the mean falls";

    const auto router = build_identity_router(steered_top_p_config(2.0, "model"), num_experts);
    const std::vector<double> mean_k = mean_k_while_growing_sure(*router, num_experts, 600);
    for (std::size_t first = 100; first + 100 <= mean_k.size(); first += 50) {
      const auto begin = mean_k.begin() + static_cast<std::ptrdiff_t>(first);
      EXPECT_NEAR(std::accumulate(begin, begin + 100, 0.0) / 100.0, 2.0, 0.04) << first;
    }
    // Once it has come near from above, it does not swing below.
    const auto near = std::find_if(mean_k.begin(), mean_k.end(),
                                   [](double k) { return std::abs(k - 2.0) < 0.2; });
    EXPECT_LT(near - mean_k.begin(), 100);
    EXPECT_GT(*std::min_element(near, mean_k.end()), 1.7);
    EXPECT_LT(*std::max_element(near, mean_k.end()), 2.3);
  }
}

TEST(TopPTarget, OfALayerIsItsOwnMeanAndOfTheModelAllLayers) {
  for (const char* control : {"model", "layer"}) {
    const auto router = build_router(steered_top_p_config(2.0, control));
    const float before = current_p(*router);
    // This layer gives 3 experts to a token, all layers together 1.
    router->after_step({.step = 0,
                        .num_tokens = 10,
                        .count_E = std::vector<std::int64_t>(kExperts, 30 / kExperts),
                        .model_experts_per_token = 1.0});
    EXPECT_EQ(current_p(*router) > before, control == std::string("model")) << control;
  }
}

TEST(TopPTarget, DoesNotWindUpAtABound) {
  const auto router = build_router(steered_top_p_config(5.0, "model"));
  const GlobalSums too_few{.num_tokens = 1,
                           .count_E = std::vector<std::int64_t>(kExperts, 0),
                           .model_experts_per_token = 1.0};
  for (int step = 0; step < 1000; ++step) router->after_step(too_few);
  EXPECT_NEAR(current_p(*router), 1.0, 1e-3);
  EXPECT_LT(current_p(*router), 1.0F);
  GlobalSums too_many = too_few;
  too_many.model_experts_per_token = 6.0;
  int steps = 0;
  for (; current_p(*router) > 0.9F && steps < 1000; ++steps) router->after_step(too_many);
  EXPECT_LT(steps, 100) << "a wound-up sum would take thousands of steps back";
}

TEST(TopPTarget, StepsWithoutTokensLeaveItAlone) {
  const auto router = build_router(steered_top_p_config(2.0, "model"));
  const auto before = router->state();
  router->after_step({.step = 0});
  EXPECT_EQ(router->state().at("p").item<float>(), before.at("p").item<float>());
  EXPECT_EQ(router->state().at("error_sum").item<float>(), 0.0F);
}

TEST(TopPNormalized, ScaleAndShiftOfATokensLogitsDecideNothing) {
  const auto router = build_identity_router(normalized_top_p_config(0.6), 6);
  RouterInput input = make_input({32}, {}, 8, at::kFloat, 6);
  const auto before = choices(router->route(input).routing);
  input.x_TH.mul_(7.0).add_(2.0);
  const auto after = choices(router->route(input).routing);
  for (std::size_t token = 0; token < before.size(); ++token) {
    ASSERT_EQ(after[token].size(), before[token].size());
    for (std::size_t i = 0; i < before[token].size(); ++i) {
      EXPECT_EQ(after[token][i].expert, before[token][i].expert);
      EXPECT_NEAR(after[token][i].weight, before[token][i].weight, 1e-4);
    }
  }
}

TEST(TopPNormalized, ProbabilitiesAreOfTheStandardisedLogitsTimesTheScale) {
  const auto router = build_identity_router(normalized_top_p_config(1.0), 3);
  ASSERT_EQ(router->parameters().size(), 2U);
  ops::Parameter& scale = *router->parameters()[1];
  EXPECT_EQ(scale.name, "model.layers.3.moe.router.logit_scale");
  EXPECT_FALSE(scale.decay);
  scale.value.detach().fill_(2.0);
  RouterInput input = make_input({1}, {}, 1, at::kFloat, 3);
  input.x_TH = at::tensor({1.0F, 2.0F, 6.0F}).view({1, 3});
  const double deviation = std::sqrt(14.0 / 3.0);  // of 1, 2, 6 around 3
  double total = 0.0;
  std::vector<double> expected;
  for (const double logit : {1.0, 2.0, 6.0}) {
    expected.push_back(std::exp(2.0 * (logit - 3.0) / deviation));
    total += expected.back();
  }
  const auto got = choices(router->route(input).routing)[0];
  ASSERT_EQ(got.size(), 3U);
  for (std::size_t e = 0; e < 3; ++e) EXPECT_NEAR(got[e].weight, expected[e] / total, 1e-5);
}

TEST(TopP, RefusesOptionsOutOfRange) {
  EXPECT_THROW((void)build_router(steered_top_p_config(0.5, "model")), UsageError);
  EXPECT_THROW((void)build_router(steered_top_p_config(kExperts + 1.0, "model")), UsageError);
  EXPECT_THROW((void)build_router(steered_top_p_config(2.0, "head")), UsageError);
  for (const double p : {0.0, -0.1, 1.0001, std::nan("")}) {
    EXPECT_THROW((void)build_router(top_p_config(p)), UsageError) << p;
    EXPECT_THROW((void)build_router(warming_top_p_config(0.4, p, 5)), UsageError) << p;
  }
  EXPECT_THROW((void)build_router(warming_top_p_config(0.4, 1.0, -1)), UsageError);
  EXPECT_THROW((void)build_router(limited_top_p_config(0.4, 0)), UsageError);
  EXPECT_THROW((void)build_router(limited_top_p_config(0.4, kExperts + 1)), UsageError);
}

}  // namespace
}  // namespace switchyard::routing
