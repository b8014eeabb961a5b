#include "switchyard/ops/route_chosen.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "ops/route_support.h"
#include "support/gradient.h"
#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::ops::testing {
namespace {

using switchyard::testing::expect_gradients_match;

// Each pair with probability 1/3, but token 1 has no expert, token 2 all of them, and expert 3 none
// but that token.
at::Tensor random_choice(std::int64_t num_tokens, std::int64_t num_experts) {
  at::Tensor chosen_TE = at::zeros({num_tokens, num_experts}, at::kBool);
  bool* chosen = chosen_TE.mutable_data_ptr<bool>();
  for (std::int64_t i = 0; i < chosen_TE.numel(); ++i) {
    chosen[i] = philox(philox_key(3), {static_cast<std::uint32_t>(i), 0, 0, 0})[0] % 3 == 0;
  }
  if (num_tokens > 2) {
    chosen_TE.select(1, 3).fill_(false);
    chosen_TE[1].fill_(false);
    chosen_TE[2].fill_(true);
  }
  return chosen_TE;
}

ChosenExperts random_experts(std::int64_t num_tokens, std::int64_t num_experts) {
  return {.weight_TE = distinct_logits(num_tokens, num_experts).cos(),
          .chosen_TE = random_choice(num_tokens, num_experts),
          .logits_TE = distinct_logits(num_tokens, num_experts)};
}

at::Tensor valid_of(const std::vector<int>& values) {
  return at::tensor(values, at::kInt).to(at::kBool);
}

using Pair = std::pair<std::int64_t, std::int64_t>;  // token, expert

// By the definition: experts one after the other, their tokens in order.
std::vector<Pair> pairs_by_definition(const at::Tensor& chosen_TE, const at::Tensor& valid_T) {
  std::vector<Pair> pairs;
  for (std::int64_t e = 0; e < chosen_TE.size(1); ++e) {
    for (std::int64_t t = 0; t < chosen_TE.size(0); ++t) {
      const bool valid = !valid_T.defined() || valid_T[t].item<bool>();
      if (valid && chosen_TE[t][e].item<bool>()) pairs.emplace_back(t, e);
    }
  }
  return pairs;
}

std::vector<Pair> pairs_of(const Routing& routing) {
  std::vector<Pair> pairs;
  const auto* offset = routing.expert_offset_E1.const_data_ptr<std::int32_t>();
  for (std::int64_t e = 0; e < routing.num_experts; ++e) {
    for (std::int32_t row = offset[e]; row < offset[e + 1]; ++row) {
      pairs.emplace_back(routing.row_token_N[row].item<std::int64_t>(), e);
    }
  }
  return pairs;
}

TEST(RouteChosen, RoutesExactlyTheChosenPairsOfValidTokens) {
  const at::Tensor offsets = int32_tensor({0, 3, 3, 9});
  const ChosenExperts experts = random_experts(9, 5);
  for (const at::Tensor& valid_T : {at::Tensor(), valid_of({1, 1, 1, 0, 1, 1, 0, 1, 1})}) {
    const RouteOutput out = route_chosen(experts, valid_T, offsets);
    EXPECT_NO_THROW(check_routing(out.routing));
    const std::vector<Pair> pairs = pairs_of(out.routing);
    EXPECT_EQ(pairs, pairs_by_definition(experts.chosen_TE, valid_T));
    for (std::size_t row = 0; row < pairs.size(); ++row) {
      EXPECT_EQ(out.routing.row_weight_N[static_cast<std::int64_t>(row)].item<double>(),
                experts.weight_TE[pairs[row].first][pairs[row].second].item<double>());
    }
  }
}

TEST(RouteChosen, SumsCountTheChoiceAndTheLogitsOfValidTokens) {
  const at::Tensor offsets = int32_tensor({0, 3, 3, 9});
  const at::Tensor valid_T = valid_of({1, 1, 1, 0, 1, 1, 0, 1, 1});
  const ChosenExperts experts = random_experts(9, 5);
  const RouteSums sums = route_chosen(experts, valid_T, offsets).sums;
  const at::Tensor kept_TE = experts.chosen_TE.logical_and(valid_T.unsqueeze(1)).to(at::kLong);
  EXPECT_TRUE(at::equal(sums.count_BE[0], kept_TE.narrow(0, 0, 3).sum(0)));
  EXPECT_TRUE(at::equal(sums.count_BE[2], kept_TE.narrow(0, 3, 6).sum(0)));
  EXPECT_TRUE(at::equal(sums.num_tokens_B, at::tensor({3, 0, 4}, at::kLong)));
  at::Tensor histogram_E1 = at::zeros({6}, at::kLong);
  for (std::int64_t t = 0; t < 9; ++t) {
    if (valid_T[t].item<bool>()) histogram_E1[kept_TE[t].sum().item<std::int64_t>()] += 1;
  }
  EXPECT_TRUE(at::equal(sums.k_histogram_E1, histogram_E1));
  EXPECT_GT(histogram_E1[0].item<std::int64_t>(), 0);
  EXPECT_GT(histogram_E1[5].item<std::int64_t>(), 0);

  const at::Tensor probs_TE = at::softmax(experts.logits_TE, 1).mul(valid_T.unsqueeze(1));
  EXPECT_LT((sums.prob_sum_BE[2] - probs_TE.narrow(0, 3, 6).sum(0)).abs().max().item<double>(),
            1e-12);
  const at::Tensor log_sum_exp_T = experts.logits_TE.exp().sum(1).log();
  EXPECT_NEAR(sums.z_sum.item<double>(), log_sum_exp_T.square().mul(valid_T).sum().item<double>(),
              1e-12);
  const at::Tensor entropy_T =
      at::softmax(experts.logits_TE, 1).mul(log_sum_exp_T.unsqueeze(1) - experts.logits_TE).sum(1);
  EXPECT_NEAR(sums.entropy_sum.item<double>(), entropy_T.mul(valid_T).sum().item<double>(), 1e-12);
}

TEST(RouteChosen, GradientsOfWeightsAndLogitsMatchCentralDifferences) {
  const at::Tensor offsets = int32_tensor({0, 3, 3, 9});
  const at::Tensor valid_T = valid_of({1, 1, 1, 0, 1, 1, 0, 1, 1});
  const at::Tensor chosen_TE = random_choice(9, 5);
  for (const UsedOutputs& used : output_subsets()) {
    expect_gradients_match(
        [&](const std::vector<at::Tensor>& in) {
          return scalar_loss(
              route_chosen({.weight_TE = in[0], .chosen_TE = chosen_TE, .logits_TE = in[1]},
                           valid_T, offsets),
              used);
        },
        {distinct_logits(9, 5).cos().requires_grad_(), distinct_logits(9, 5).requires_grad_()});
  }
}

TEST(RouteChosen, WeightsOfTheLogitsGetTheGradientsOfTopK) {
  const at::Tensor offsets = int32_tensor({0, 4, 9});
  const auto gradient = [&](bool chosen) {
    const at::Tensor logits_TE = distinct_logits(9, 5).requires_grad_();
    RouteOutput out =
        top_k_route(logits_TE, {}, offsets, {.k = 2, .k_T = {}, .renormalize = false});
    if (chosen) {
      at::Tensor chosen_TE = at::zeros({9, 5}, at::kBool);
      for (const auto& [token, expert] : pairs_of(out.routing))
        chosen_TE[token][expert].fill_(true);
      out = route_chosen(
          {.weight_TE = at::softmax(logits_TE, 1), .chosen_TE = chosen_TE, .logits_TE = logits_TE},
          {}, offsets);
    }
    scalar_loss(out, {}).backward();
    return logits_TE.grad();
  };
  EXPECT_LT((gradient(true) - gradient(false)).abs().max().item<double>(), 1e-12);
}

TEST(RouteChosen, TakesABatchWithoutTokensAndAChoiceOfNothing) {
  for (const std::int64_t num_tokens : {0, 1}) {
    ChosenExperts experts = random_experts(num_tokens, 5);
    experts.chosen_TE.fill_(false);
    experts.weight_TE.requires_grad_();
    experts.logits_TE.requires_grad_();
    const at::Tensor offsets = int32_tensor({0, static_cast<std::int32_t>(num_tokens)});
    const RouteOutput out = route_chosen(experts, {}, offsets);
    EXPECT_NO_THROW(check_routing(out.routing));
    EXPECT_EQ(out.routing.num_rows(), 0);
    scalar_loss(out, {}).backward();
    EXPECT_EQ(experts.weight_TE.grad().abs().sum().item<double>(), 0.0);
  }
}

TEST(RouteChosen, AnyBitsInWeightsAndLogitsLeaveTheChoiceAlone) {
  ChosenExperts experts = random_experts(9, 5);
  experts.logits_TE[2].fill_(std::numeric_limits<double>::quiet_NaN());
  experts.logits_TE[4].fill_(-std::numeric_limits<double>::infinity());
  experts.weight_TE[5].fill_(std::numeric_limits<double>::quiet_NaN());
  const RouteOutput out = route_chosen(experts, {}, int32_tensor({0, 9}));
  EXPECT_NO_THROW(check_routing(out.routing));
  EXPECT_EQ(pairs_of(out.routing), pairs_by_definition(experts.chosen_TE, {}));
}

TEST(RouteChosen, ReplayKeepsValuesAndHasTheGradientsOfItsPairs) {
  const at::Tensor offsets = int32_tensor({0, 3, 9});
  ChosenExperts experts = random_experts(9, 5);
  const RouteOutput first = route_chosen(experts, {}, offsets);
  const RouteOutput other = replay_chosen({.weight_TE = experts.weight_TE.mul(3.0),
                                           .chosen_TE = {},
                                           .logits_TE = experts.logits_TE.neg()},
                                          {}, offsets, first);
  EXPECT_TRUE(at::equal(other.routing.row_token_N, first.routing.row_token_N));
  EXPECT_TRUE(at::equal(other.routing.row_weight_N, first.routing.row_weight_N));
  EXPECT_TRUE(at::equal(other.sums.prob_sum_BE, first.sums.prob_sum_BE));
  EXPECT_TRUE(at::equal(other.sums.z_sum, first.sums.z_sum));

  std::vector<at::Tensor> gradients;
  for (const bool again : {false, true}) {
    ChosenExperts leaves = random_experts(9, 5);
    leaves.weight_TE.requires_grad_();
    leaves.logits_TE.requires_grad_();
    const RouteOutput routed = route_chosen(leaves, {}, offsets);
    scalar_loss(again ? replay_chosen(leaves, {}, offsets, routed) : routed, {}).backward();
    gradients.push_back(leaves.weight_TE.grad());
    gradients.push_back(leaves.logits_TE.grad());
  }
  EXPECT_TRUE(at::equal(gradients[0], gradients[2]));
  EXPECT_TRUE(at::equal(gradients[1], gradients[3]));
  EXPECT_GT(gradients[2].abs().max().item<double>(), 1e-2);
}

TEST(RouteChosen, RefusesMatricesThatDoNotBelongTogether) {
  const at::Tensor offsets = int32_tensor({0, 9});
  ChosenExperts experts = random_experts(9, 5);
  experts.weight_TE = distinct_logits(9, 4);
  EXPECT_THROW((void)route_chosen(experts, {}, offsets), InternalError);
  experts = random_experts(9, 5);
  experts.weight_TE = experts.weight_TE.to(at::kFloat);
  EXPECT_THROW((void)route_chosen(experts, {}, offsets), InternalError);
  experts = random_experts(9, 5);
  experts.chosen_TE = experts.chosen_TE.to(at::kInt);
  EXPECT_THROW((void)route_chosen(experts, {}, offsets), InternalError);
}

}  // namespace
}  // namespace switchyard::ops::testing
