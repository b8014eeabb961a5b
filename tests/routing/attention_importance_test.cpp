#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

RouterInput with_importance(RouterInput input, const std::vector<float>& importance) {
  input.importance_T = at::tensor(importance, at::kFloat);
  return input;
}

std::vector<std::int64_t> experts(Router& router, const RouterInput& input) {
  return experts_per_token(router.route(input).routing);
}

float normaliser(const Router& router) {
  return router.state().at("importance_mean").item<float>();
}

TEST(AttentionImportance, AsksForTheMeasureOfItsConfig) {
  EXPECT_EQ(build_router(importance_config("attention_peak"))->importance(),
            ops::ImportanceMeasure::peak);
  EXPECT_EQ(build_router(importance_config("attention_entropy"))->importance(),
            ops::ImportanceMeasure::entropy);
  EXPECT_EQ(build_router(importance_config("attention_received"), false)->importance(),
            ops::ImportanceMeasure::received);
  EXPECT_EQ(build_router(top_k_config(2, true))->importance(), ops::ImportanceMeasure::none);
}

// Causal entropy starts with the normaliser 1, so the measure is the importance.
TEST(AttentionImportance, ImportanceTimesTheMeanRoundsHalfToEvenWithinItsLimits) {
  const auto router = build_router(importance_config("attention_entropy"));
  const RouterInput input = with_importance(
      make_input({9}, {}), {1.0F, 0.1F, 0.75F, 1.0F, 1.25F, 1.26F, 1.75F, 2.0F, 9.0F});
  EXPECT_THAT(experts(*router, input), ElementsAre(2, 1, 2, 2, 2, 3, 4, 4, 6));
}

TEST(AttentionImportance, GivesTheMostProbableExperts) {
  const auto router = build_identity_router(importance_config("attention_entropy"), 4);
  RouterInput input = make_input({2}, {}, 1, at::kFloat, 4);
  input.x_TH = at::tensor({0.125, 0.5, 0.125, 0.25}, at::kDouble)
                   .log()
                   .to(at::kFloat)
                   .view({1, 4})
                   .repeat({2, 1});
  input.importance_T = at::tensor({1.0F, 1.5F}, at::kFloat);
  const ops::Routing routing = router->route(input).routing;
  EXPECT_THAT(chosen_experts(routing, 0), ElementsAre(1, 3));
  EXPECT_THAT(chosen_experts(routing, 1), ElementsAre(0, 1, 3));
  EXPECT_NEAR(choices(routing)[1][1].weight, 0.5, 1e-6);
}

TEST(AttentionImportance, ATokenThatSeesOneKeyIsAverage) {
  const auto router = build_router(importance_config("attention_peak"));
  // Two sequences; the second starts with padding, so its third token sees itself alone.
  const RouterInput input =
      with_importance(make_input({3, 4}, {3, 4}), {1.0F, 0.1F, 1.0F, 0.0F, 0.0F, 1.0F, 1.0F});
  ASSERT_NEAR(normaliser(*router), 0.3397, 1e-4);  // so 1 is far above average
  EXPECT_THAT(experts(*router, input), ElementsAre(2, 1, 6, 0, 0, 2, 6));
}

TEST(AttentionImportance, ATokenThatSeesCachedKeysIsNotAloneInItsSequence) {
  const auto router = build_router(importance_config("attention_entropy"));
  RouterInput input = with_importance(make_input({1, 1}, {}), {2.0F, 2.0F});
  EXPECT_THAT(experts(*router, input), ElementsAre(2, 2));
  input.cached_keys_B = at::tensor(std::vector<std::int64_t>{0, 3}, at::kLong);
  EXPECT_THAT(experts(*router, input), ElementsAre(2, 4));
}

TEST(AttentionImportance, NormaliserStartsAtTheMeanUnderUniformAttention) {
  // The fixture builds for sequences of 8: (1 + 1/2 + ... + 1/8) / 8.
  EXPECT_FLOAT_EQ(normaliser(*build_router(importance_config("attention_peak"))), 0.33973214F);
  EXPECT_EQ(normaliser(*build_router(importance_config("attention_entropy"))), 1.0F);
}

TEST(AttentionImportance, NormaliserFollowsTheStepsGlobalMean) {
  const auto router = build_router(importance_config("attention_entropy"));
  router->after_step({.step = 0, .num_tokens = 4, .named = {{"importance_sum", {2.0}}}});
  EXPECT_FLOAT_EQ(normaliser(*router), 0.99F + 0.01F * 0.5F);
  router->after_step({.step = 1, .num_tokens = 10, .named = {{"importance_sum", {1.0}}}});
  EXPECT_FLOAT_EQ(normaliser(*router), 0.99F * 0.995F + 0.01F * 0.1F);
}

TEST(AttentionImportance, NormaliserIgnoresStepsWithoutAMean) {
  const auto router = build_router(importance_config("attention_entropy"));
  router->after_step({.step = 0, .num_tokens = 0, .named = {{"importance_sum", {0.0}}}});
  router->after_step({.step = 1, .num_tokens = 3, .named = {{"importance_sum", {std::nan("")}}}});
  router->after_step({.step = 2, .num_tokens = 3, .named = {{"importance_sum", {0.0}}}});
  EXPECT_EQ(normaliser(*router), 1.0F);
}

TEST(AttentionImportance, NormaliserDividesTheMeasure) {
  const auto router = build_router(importance_config("attention_entropy"));
  const RouterInput input = with_importance(make_input({4}, {}), {1.0F, 0.5F, 0.25F, 0.75F});
  EXPECT_THAT(experts(*router, input), ElementsAre(2, 1, 1, 2));
  router->load_state({{"importance_mean", at::full({}, 0.25F, at::kFloat)}});
  EXPECT_THAT(experts(*router, input), ElementsAre(2, 4, 2, 6));
}

TEST(AttentionImportance, RefusesANormaliserThatIsNotPositive) {
  const auto router = build_router(importance_config("attention_entropy"));
  for (const float mean : {0.0F, -1.0F}) {
    EXPECT_THROW(router->load_state({{"importance_mean", at::full({}, mean, at::kFloat)}}),
                 DataError);
  }
}

TEST(AttentionImportance, SumsTheMeasureOfValidTokensInTrainingOnly) {
  const auto router = build_router(importance_config("attention_entropy"));
  RouterInput input = with_importance(make_input({3, 2}, {2}), {1.0F, 0.5F, 7.0F, 1.0F, 0.25F});
  const ops::RouteSums sums = router->route(input).sums;
  ASSERT_TRUE(sums.named.contains("importance_sum"));
  EXPECT_EQ(sums.named.at("importance_sum").item<double>(), 2.75);
  EXPECT_EQ(sums.named.at("importance_sum").scalar_type(), at::kDouble);
  EXPECT_FALSE(sums.named.at("importance_sum").requires_grad());
  input.training = false;
  EXPECT_TRUE(router->route(input).sums.named.empty());
}

TEST(AttentionImportance, BidirectionalImportanceIsRelativeToItsSequence) {
  const auto router = build_router(importance_config("attention_received"), false);
  EXPECT_TRUE(router->state().empty());
  // Means over valid tokens: 1 and 0.02; the second sequence's scale does not matter.
  const RouterInput input =
      with_importance(make_input({4, 3}, {1}), {0.5F, 0.0F, 1.0F, 1.5F, 0.01F, 0.02F, 0.03F});
  EXPECT_THAT(experts(*router, input), ElementsAre(1, 0, 2, 3, 1, 2, 3));
  EXPECT_TRUE(router->route(input).sums.named.empty());
}

TEST(AttentionImportance, BudgetSpendsTheMeanPerSequenceExactly) {
  const config::RouterConfig config(
      config::AttentionImportanceOptions{.k_mean = 2.5, .allocation = "budget"});
  const auto router = build_router(config, false);
  const std::vector<std::int64_t> got = experts(*router, make_input({7, 4}, {6}, 4));
  EXPECT_EQ(std::accumulate(got.begin(), got.begin() + 7, std::int64_t{0}), 15);
  EXPECT_EQ(std::accumulate(got.begin() + 7, got.end(), std::int64_t{0}), 10);
}

// Two heads of probabilities that anybody can check: K = ceil(importance x 6), within 1 to 5.
TEST(AttentionImportance, CeilExpertsRoundsTheShareOfAllExpertsUp) {
  const std::vector<float> peaks{0.0F, 0.16F, 0.17F, 0.5F, 0.51F, 0.84F, 1.0F};
  for (const bool causal : {true, false}) {
    const config::RouterConfig config(config::AttentionImportanceOptions{
        .importance = "attention_peak", .k_mean = 99.0, .k_max = 5, .allocation = "ceil_experts"});
    const auto router = build_router(config, causal);
    const RouterInput input = with_importance(make_input({7}, {}), peaks);
    EXPECT_THAT(experts(*router, input), ElementsAre(1, 1, 2, 3, 4, 5, 5));
    EXPECT_TRUE(router->state().empty()) << "nothing to be relative to";
    EXPECT_TRUE(router->route(input).sums.named.empty());
    router->after_step({.step = 0, .num_tokens = 7});
  }
}

TEST(AttentionImportance, CeilExpertsNeedsProbabilities) {
  for (const char* measure : {"attention_entropy", "attention_received"}) {
    EXPECT_THROW((void)build_router(importance_config(measure, "ceil_experts"), false), UsageError)
        << measure;
  }
  EXPECT_THROW(
      (void)build_router(config::RouterConfig(config::AttentionImportanceOptions{
          .importance = "attention_peak", .k_min = 4, .k_max = 3, .allocation = "ceil_experts"})),
      UsageError);
}

TEST(AttentionImportance, TakesTheMeasureThatSuitsTheModel) {
  const config::RouterConfig config{config::AttentionImportanceOptions{}};
  EXPECT_EQ(build_router(config, true)->importance(), ops::ImportanceMeasure::entropy);
  EXPECT_EQ(build_router(config, false)->importance(), ops::ImportanceMeasure::received);
  EXPECT_EQ(build_router(importance_config("attention_received_peak"), false)->importance(),
            ops::ImportanceMeasure::received_peak);
}

TEST(AttentionImportance, TokensWithoutAFiniteImportanceGetTheFewestExperts) {
  const auto causal = build_router(importance_config("attention_entropy"));
  const RouterInput input =
      with_importance(make_input({3, 3}, {}), {1.0F, kNan, 1.5F, 1.0F, 1.5F, 2.0F});
  EXPECT_THAT(experts(*causal, input), ElementsAre(2, 1, 3, 2, 3, 4));
  // A bidirectional mean needs the whole sequence; the other one does not notice.
  const auto both_ways = build_router(importance_config("attention_entropy"), false);
  EXPECT_THAT(experts(*both_ways, input), ElementsAre(1, 1, 1, 1, 2, 3));
}

TEST(AttentionImportance, NoGradientFlowsThroughTheImportance) {
  const auto router = build_router(importance_config("attention_entropy"), false);
  RouterInput input = make_input({5}, {});
  input.importance_T.set_requires_grad(true);
  router->route(input).routing.row_weight_N.sum().backward();
  EXPECT_FALSE(input.importance_T.grad().defined());
  EXPECT_TRUE(router->weight().value.grad().defined());
}

TEST(AttentionImportance, RefusesToRouteWithoutAnImportance) {
  const auto router = build_router(importance_config("attention_entropy"));
  RouterInput input = make_input({5}, {});
  input.importance_T = at::Tensor();
  EXPECT_THROW((void)router->route(input), InternalError);
}

TEST(AttentionImportance, RefusesWhatWouldLookIntoTheFuture) {
  try {
    (void)build_router(importance_config("attention_received"), true);
    FAIL() << "attention_received was accepted in a causal model";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.hint(), HasSubstr("attention_peak"));
    EXPECT_THAT(error.hint(), HasSubstr("attention_entropy"));
  }
  EXPECT_THROW((void)build_router(importance_config("attention_entropy", "budget"), true),
               UsageError);
  EXPECT_THROW((void)build_router(importance_config("attention_received_peak"), true), UsageError);
}

TEST(AttentionImportance, RefusesUnknownNamesAndLimitsOutOfOrder) {
  EXPECT_THROW((void)build_router(importance_config("attention_sent")), UsageError);
  EXPECT_THROW((void)build_router(importance_config("attention_peak", "fair")), UsageError);
  const auto with = [](std::int64_t k_min, double k_mean, std::int64_t k_max) {
    return config::RouterConfig(config::AttentionImportanceOptions{
        .importance = "attention_peak", .k_mean = k_mean, .k_min = k_min, .k_max = k_max});
  };
  EXPECT_NO_THROW((void)build_router(with(1, 1.5, kExperts)));
  EXPECT_THROW((void)build_router(with(-1, 1.5, 3)), UsageError);
  EXPECT_THROW((void)build_router(with(2, 1.5, 3)), UsageError);
  EXPECT_THROW((void)build_router(with(1, 3.5, 3)), UsageError);
  EXPECT_THROW((void)build_router(with(1, 1.5, kExperts + 1)), UsageError);
  EXPECT_THROW((void)build_router(with(1, std::nan(""), 3)), UsageError);
}

}  // namespace
}  // namespace switchyard::routing
