#include <ATen/TensorOperators.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "routing/logit_histogram.h"
#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

std::vector<float> thresholds(const Router& router) {
  const at::Tensor threshold_E = router.state().at("threshold");
  return {threshold_E.const_data_ptr<float>(),
          threshold_E.const_data_ptr<float>() + threshold_E.numel()};
}

// The rank-th largest (from 1) of a column, by sorting.
double by_sorting(const at::Tensor& logits_TE, std::int64_t expert, std::int64_t rank) {
  return std::get<0>(at::sort(logits_TE.select(1, expert), 0, /*descending=*/true))[rank - 1]
      .item<double>();
}

TEST(LogitHistogram, TellsTheRankthLargestToItsBinsWidth) {
  const at::Tensor spread_TE = uniform({2000, 3}, 3, -1.0, 1.0);
  for (const double scale : {0.01, 0.3, 5.0, 40.0}) {
    const at::Tensor logits_TE = spread_TE.mul(scale);
    const at::Tensor count = logit_histogram(logits_TE, {});
    for (const std::int64_t rank : {1, 40, 700, 1999}) {
      for (std::int64_t expert = 0; expert < 3; ++expert) {
        const double exact = by_sorting(logits_TE, expert, rank);
        const double got = largest_logit(count.const_data_ptr<double>() + expert * kLogitBins,
                                         static_cast<double>(rank));
        EXPECT_NEAR(got, exact, 0.028 * std::sqrt(exact * exact + 1.0 / 64.0))
            << "scale " << scale << ", rank " << rank;
      }
    }
  }
}

TEST(LogitHistogram, PutsEveryLogitBeyondItsRangeAtItsEnds) {
  const at::Tensor logits_TE =
      at::tensor({1e30, 65.0, 70.0, -65.0, -1e30}, at::kFloat).view({5, 1});
  const at::Tensor count = logit_histogram(logits_TE, {});
  EXPECT_EQ(count[kLogitBins - 1].item<double>(), 3.0);
  EXPECT_EQ(count[0].item<double>(), 2.0);
  for (const double rank : {1.0, 3.0}) {
    const double high = largest_logit(count.const_data_ptr<double>(), rank);
    EXPECT_GT(high, 62.0) << rank;
    EXPECT_LT(high, 64.0) << rank;
  }
  EXPECT_LE(largest_logit(count.const_data_ptr<double>(), 4.0), -62.0);
  EXPECT_GE(largest_logit(count.const_data_ptr<double>(), 5.0), -64.0 - 1e-9);
}

// Weights have no gradient there; the choice has to stay valid and to find its way back.
TEST(ExpertThreshold, OfLogitsBeyondTheHistogramTakesAllAboveAndNoneBelowAndComesBack) {
  const auto router =
      build_identity_router(config::RouterConfig(config::ExpertThresholdOptions{
                                .target_k = 1.0, .threshold_decay = 0.0, .threshold_warmup = 1}),
                            4);
  RouterInput input = make_input({64}, {}, 1, at::kFloat, 4);
  const at::Tensor start_TH = input.x_TH.clone();
  const auto step_with = [&](const at::Tensor& x_TH, std::int64_t step) {
    input.x_TH = x_TH;
    router->after_step(global_sums(router->route(input).sums, step));
    return experts_per_token(router->route(input).routing);
  };
  const auto mean_of = [](const std::vector<std::int64_t>& k_T) {
    return static_cast<double>(std::accumulate(k_T.begin(), k_T.end(), std::int64_t{0})) /
           static_cast<double>(k_T.size());
  };
  (void)step_with(start_TH, 0);
  EXPECT_EQ(mean_of(step_with(start_TH.add(100.0), 1)), 4.0) << "all of them";
  for (const float threshold : thresholds(*router)) EXPECT_LT(threshold, 64.0F);
  EXPECT_EQ(mean_of(step_with(start_TH.sub(100.0), 2)), 0.0) << "none";
  for (const float threshold : thresholds(*router)) EXPECT_GE(threshold, -64.001F);
  EXPECT_NEAR(mean_of(step_with(start_TH, 3)), 1.0, 0.1) << "back in range, the target again";
}

TEST(LogitHistogram, IsASumOverAnySplitAndLeavesPaddingAndNanOut) {
  at::Tensor logits_TE = uniform({30, 2}, 4, -9.0, 9.0);
  logits_TE[3][1].fill_(std::nan(""));
  logits_TE[4][0].fill_(std::numeric_limits<double>::infinity());
  logits_TE[5][0].fill_(-1e30);
  std::vector<bool> valid(30, true);
  valid[7] = valid[8] = false;
  const at::Tensor valid_T = mask(valid);
  const at::Tensor whole = logit_histogram(logits_TE, valid_T);
  EXPECT_EQ(whole.narrow(0, 0, kLogitBins).sum().item<double>(), 28.0);
  EXPECT_EQ(whole.narrow(0, kLogitBins, kLogitBins).sum().item<double>(), 27.0);
  EXPECT_EQ(whole[kLogitBins - 1].item<double>(), 1.0);
  EXPECT_EQ(whole[0].item<double>(), 1.0);
  const at::Tensor parts = logit_histogram(logits_TE.narrow(0, 0, 11), valid_T.narrow(0, 0, 11)) +
                           logit_histogram(logits_TE.narrow(0, 11, 19), valid_T.narrow(0, 11, 19));
  EXPECT_TRUE(same_bits(parts, whole));
}

TEST(ExpertThreshold, GivesATokenItsBestExpertsUntilTheThresholdsAreFull) {
  const auto router = build_identity_router(expert_threshold_config(2.4, 2), 4);
  RouterInput input = make_input({40}, {}, 1, at::kFloat, 4);
  for (int step = 0; step < 2; ++step) {
    const RouteResult routed = router->route(input);
    EXPECT_EQ(experts_per_token(routed.routing), std::vector<std::int64_t>(40, 2));
    router->after_step(global_sums(routed.sums, step));
  }
  const std::vector<std::int64_t> k_T = experts_per_token(router->route(input).routing);
  EXPECT_GT(*std::max_element(k_T.begin(), k_T.end()), 2);
  EXPECT_EQ(*std::min_element(k_T.begin(), k_T.end()), 0);
  for (int step = 0; step < 3; ++step) router->after_step({.step = step});
  EXPECT_EQ(experts_per_token(router->route(input).routing), k_T) << "steps without tokens";
}

TEST(ExpertThreshold, ATokenGoesWhereItsLogitIsAboveTheThresholdWeightedByItsSigmoid) {
  const auto router = build_identity_router(expert_threshold_config(1.0, 1), 3);
  router->load_state({{"num_updates", at::tensor(5.0F).reshape({})},
                      {"threshold", at::tensor({0.5F, -1.0F, 2.0F})}});
  RouterInput input = make_input({2}, {}, 1, at::kFloat, 3);
  input.x_TH = at::tensor({0.5F, -0.9F, 2.5F, 0.4F, -1.5F, 1.9F}).view({2, 3});
  const auto got = choices(router->route(input).routing);
  ASSERT_EQ(got[0].size(), 2U);
  EXPECT_EQ(got[0][0].expert, 1);
  EXPECT_NEAR(got[0][0].weight, 1.0 / (1.0 + std::exp(0.9)), 1e-6);
  EXPECT_EQ(got[0][1].expert, 2);
  EXPECT_NEAR(got[0][1].weight, 1.0 / (1.0 + std::exp(-2.5)), 1e-6);
  EXPECT_TRUE(got[1].empty());
}

// Whatever the experts' own means and spreads are: every expert gets its share of the tokens.
TEST(ExpertThreshold, HoldsTheMeanAndEvensTheLoad) {
  for (const std::int64_t num_experts : {4, 16}) {
    const auto router = build_identity_router(expert_threshold_config(2.0, 5), num_experts);
    double mean_k = 0.0;
    for (std::int64_t step = 0; step < 60; ++step) {
      RouterInput input =
          make_input({1024}, {}, 300 + static_cast<std::uint64_t>(step), at::kFloat, num_experts);
      input.x_TH.mul_(uniform({num_experts}, 5, 0.2, 2.0).to(at::kFloat))
          .add_(uniform({num_experts}, 6, -2.0, 2.0).to(at::kFloat));
      const GlobalSums sums = global_sums(router->route(input).sums, step);
      if (step >= 40) {
        mean_k += sums.model_experts_per_token / 20.0;
        for (const std::int64_t count : sums.count_E) {
          EXPECT_NEAR(static_cast<double>(count) * static_cast<double>(num_experts) / 2048.0, 1.0,
                      0.3);
        }
      }
      router->after_step(sums);
    }
    EXPECT_NEAR(mean_k, 2.0, 0.04) << num_experts << " experts";
  }
}

TEST(ExpertThreshold, ThresholdsAreARunningMeanOfTheStepsRankthLargest) {
  config::RouterConfig config = expert_threshold_config(1.5, 1);
  config.options.as<config::ExpertThresholdOptions>().threshold_decay = 0.75;
  const auto router = build_identity_router(config, 3);
  const auto step_with = [&](std::uint64_t seed) {
    const RouterInput input = make_input({9, 11}, {4}, seed, at::kFloat, 3);
    const RouteResult routed = router->route(input);
    const at::Tensor& count = routed.sums.named.at("logit_histogram");
    std::vector<double> now;
    for (std::int64_t expert = 0; expert < 3; ++expert) {  // ceil(1.5 x 19 / 3) = 10
      now.push_back(largest_logit(count.const_data_ptr<double>() + expert * kLogitBins, 10.0));
    }
    router->after_step(global_sums(routed.sums, 0));
    return now;
  };
  const std::vector<double> first = step_with(1);
  for (std::size_t e = 0; e < 3; ++e) EXPECT_NEAR(thresholds(*router)[e], first[e], 1e-6);
  const std::vector<double> second = step_with(2);
  const double early = 2.0 / 11.0;  // (1 + n) / (10 + n) after one update
  for (std::size_t e = 0; e < 3; ++e) {
    EXPECT_NEAR(thresholds(*router)[e], early * first[e] + (1.0 - early) * second[e], 1e-6);
  }
  for (int step = 0; step < 40; ++step) (void)step_with(3);
  const std::vector<float> before = thresholds(*router);
  const std::vector<double> last = step_with(4);
  for (std::size_t e = 0; e < 3; ++e) {
    EXPECT_NEAR(thresholds(*router)[e], 0.75 * before[e] + 0.25 * last[e], 1e-6);
  }
}

TEST(ExpertThreshold, CountsOnlyWhileTraining) {
  const auto router = build_router(expert_threshold_config(2.0, 1));
  RouterInput input = padded_input();
  EXPECT_EQ(router->route(input).sums.named.at("logit_histogram").numel(), kExperts * kLogitBins);
  input.training = false;
  EXPECT_TRUE(router->route(input).sums.named.empty());
}

TEST(ExpertThreshold, RefusesOptionsAndStatesThatCannotBe) {
  EXPECT_THROW((void)build_router(expert_threshold_config(0.0, 1)), UsageError);
  EXPECT_THROW((void)build_router(expert_threshold_config(kExperts + 1.0, 1)), UsageError);
  EXPECT_THROW((void)build_router(expert_threshold_config(2.0, 0)), UsageError);
  const auto router = build_router(expert_threshold_config(2.0, 1));
  auto state = router->state();
  state["num_updates"] = at::tensor(-1.0F).reshape({});
  EXPECT_THROW(router->load_state(state), DataError);
}

}  // namespace
}  // namespace switchyard::routing
