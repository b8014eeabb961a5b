#include <gtest/gtest.h>

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

}  // namespace
}  // namespace switchyard::routing
