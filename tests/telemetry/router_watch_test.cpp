#include "switchyard/telemetry/router_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"

namespace switchyard::telemetry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

config::ModelConfig model_with(const config::RouterConfig& router) {
  config::ModelConfig model;
  model.moe.router = router;
  return model;
}

config::RouterConfig top_p(bool renormalize) {
  return config::RouterConfig(config::TopPOptions{}, renormalize);
}

// Layers 1 and 3; of 100 tokens each, so many have one expert in layer 3, none in layer 1.
StepSums step_with(std::int64_t num_with_one, double router_norm = 0.01) {
  StepSums sums{.num_tokens = 100, .grad_norm = 1.0};
  sums.layers.push_back({.layer = 1,
                         .num_tokens = 100,
                         .count_E = {100, 100},
                         .k_histogram_E1 = {0, 0, 100},
                         .router_grad_norm = router_norm});
  sums.layers.push_back({.layer = 3,
                         .num_tokens = 100,
                         .count_E = {100, 100 - num_with_one},
                         .k_histogram_E1 = {0, num_with_one, 100 - num_with_one},
                         .router_grad_norm = router_norm});
  return sums;
}

// What is told in a window of such steps; the last of what was told.
std::optional<std::string> told_in_window(RouterWatch& watch, const StepSums& step) {
  std::optional<std::string> told;
  for (std::int64_t i = 0; i < RouterWatch::kWindow; ++i) {
    const std::optional<std::string> message = watch.add(step);
    EXPECT_TRUE(!message || i == RouterWatch::kWindow - 1) << "before the window is over";
    if (message) told = message;
  }
  return told;
}

TEST(RouterWatch, TellsOnceThatRenormalizedWeightsTeachNothing) {
  RouterWatch watch(model_with(top_p(true)));
  EXPECT_FALSE(told_in_window(watch, step_with(97)));
  const std::optional<std::string> told = told_in_window(watch, step_with(98));
  ASSERT_TRUE(told);
  EXPECT_THAT(*told, AllOf(HasSubstr("layer 3:"), HasSubstr("constant 1"),
                           HasSubstr("model.moe.router.renormalize=false"),
                           HasSubstr("model.moe.router.target_k=2")));
  EXPECT_FALSE(told_in_window(watch, step_with(100))) << "said once";
}

TEST(RouterWatch, RawWeightsTeachUntilTheGradientIsGone) {
  RouterWatch watch(model_with(top_p(false)));
  EXPECT_FALSE(told_in_window(watch, step_with(100)));
  const std::optional<std::string> told = told_in_window(watch, step_with(100, 7e-10));
  ASSERT_TRUE(told);
  EXPECT_THAT(*told, AllOf(HasSubstr("next to nothing"), Not(HasSubstr("renormalize"))));
}

TEST(RouterWatch, AdviceIsOfTheRouterThatTheLayerHas) {
  config::ModelConfig model = model_with(top_p(true));
  model.moe.router_of_layer[3] = config::RouterConfig(config::TopKOptions{.k = 1}, false);
  RouterWatch watch(model);
  EXPECT_FALSE(told_in_window(watch, step_with(100)));
  const std::optional<std::string> told = told_in_window(watch, step_with(100, 0.0));
  ASSERT_TRUE(told);
  EXPECT_THAT(*told, Not(HasSubstr("target_k")));
}

// Without an expert a token teaches the router nothing either, whatever other losses push.
TEST(RouterWatch, TokensWithoutAnExpertTeachNothing) {
  RouterWatch watch(model_with(config::RouterConfig("relu")));
  StepSums step = step_with(0);
  step.layers[1].k_histogram_E1 = {99, 1, 0};
  const std::optional<std::string> told = told_in_window(watch, step);
  ASSERT_TRUE(told);
  EXPECT_THAT(*told, AllOf(HasSubstr("layer 3:"), HasSubstr("at most one expert"),
                           Not(HasSubstr("target_k=2"))))
      << "which it has already";
}

TEST(RouterWatch, SkippedAndEmptyStepsDoNotCount) {
  RouterWatch watch(model_with(top_p(true)));
  StepSums skipped = step_with(0);
  skipped.skipped = true;
  StepSums empty = step_with(0);
  for (LayerSums& layer : empty.layers) layer.num_tokens = 0;
  std::optional<std::string> told;
  for (std::int64_t i = 0; i < RouterWatch::kWindow; ++i) {
    EXPECT_FALSE(watch.add(skipped) || watch.add(empty));
    told = watch.add(step_with(100));
  }
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace switchyard::telemetry
