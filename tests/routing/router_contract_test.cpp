// What every router promises about the routing it returns, run on every entry of router_cases.h.
#include <ATen/ops/isfinite.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "routing/router_contract.h"
#include "switchyard/config/router.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

class RouterRouting : public RouterContract {};

INSTANTIATE_TEST_SUITE_P(Routers, RouterRouting, ::testing::ValuesIn(router_cases()),
                         [](const auto& instance) { return instance.param.name; });

// Of the routers that go by the order of the logits alone.
class RouterOrder : public RouterContract {};

std::vector<RouterCase> cases_in_order() {
  std::vector<RouterCase> cases = router_cases();
  std::erase_if(cases, [](const RouterCase& entry) { return !entry.takes_the_best; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Routers, RouterOrder, ::testing::ValuesIn(cases_in_order()),
                         [](const auto& instance) { return instance.param.name; });

// Any differentiable number that depends on all of a result's differentiable tensors.
at::Tensor objective(const RouteResult& result) {
  const at::Tensor& weight_N = result.routing.row_weight_N;
  const at::Tensor& prob_BE = result.sums.prob_sum_BE;
  at::Tensor sum =
      weight_N.mul(uniform({weight_N.size(0)}, 31).to(weight_N.scalar_type()))
          .sum()
          .add(
              prob_BE.mul(uniform({prob_BE.size(0), prob_BE.size(1)}, 32).to(prob_BE.scalar_type()))
                  .sum())
          .add(result.sums.entropy_sum, 0.3)
          .add(result.sums.z_sum, 0.2);
  const at::Tensor& weight_E = result.sums.weight_sum_E;
  if (!weight_E.defined()) return sum;
  return sum.add(weight_E.mul(uniform({weight_E.size(0)}, 33).to(weight_E.scalar_type())).sum());
}

TEST_P(RouterRouting, BothViewsHoldTheSamePairsInOrder) {
  const auto router = build();
  const RouterInput input = padded_input();
  const ops::Routing routing = router->route(input).routing;
  EXPECT_NO_THROW(ops::check_routing(routing));
  ASSERT_EQ(routing.num_tokens, 13);
  ASSERT_EQ(routing.num_experts, kExperts);
  ASSERT_EQ(routing.row_weight_N.scalar_type(), at::kFloat);
  std::set<std::pair<std::int64_t, std::int64_t>> by_expert;
  for (std::int64_t expert = 0; expert < kExperts; ++expert) {
    std::int64_t previous = -1;
    for (std::int64_t row = routing.expert_offset_E1[expert].item<int>();
         row < routing.expert_offset_E1[expert + 1].item<int>(); ++row) {
      const std::int64_t token = routing.row_token_N[row].item<int>();
      EXPECT_GT(token, previous);
      previous = token;
      by_expert.emplace(token, expert);
    }
  }
  std::set<std::pair<std::int64_t, std::int64_t>> by_token;
  for (std::int64_t token = 0; token < 13; ++token) {
    std::int64_t previous = -1;
    for (const std::int64_t expert : chosen_experts(routing, token)) {
      EXPECT_GT(expert, previous);
      previous = expert;
      by_token.emplace(token, expert);
    }
  }
  EXPECT_EQ(by_expert, by_token);
  EXPECT_EQ(static_cast<std::int64_t>(by_token.size()), routing.num_rows());
  EXPECT_GT(by_token.size(), 0U);
}

TEST_P(RouterRouting, WeightsArePositiveAndSharesOfOneWhereTheyAreSaidToBe) {
  const auto router = build();
  for (const auto& token : choices(router->route(padded_input()).routing)) {
    double sum = 0.0;
    for (const Choice& choice : token) {
      EXPECT_GT(choice.weight, 0.0);
      sum += choice.weight;
    }
    if (GetParam().weights_are_shares) {
      EXPECT_LE(sum, 1.0 + 1e-5);
    }
    if (GetParam().config.renormalize && !token.empty()) {
      EXPECT_NEAR(sum, 1.0, 1e-5);
    }
  }
}

TEST_P(RouterRouting, CountsWhatItRouted) {
  const auto router = build();
  const RouteResult result = router->route(padded_input());
  const std::vector<std::int64_t> sequence = {0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 3, 3, 3};
  const std::vector<bool> valid = {true, true,  true, true,  true, false, false,
                                   true, false, true, false, true, true};
  at::Tensor count_BE = at::zeros({4, kExperts}, at::kLong);
  at::Tensor tokens_B = at::zeros({4}, at::kLong);
  at::Tensor histogram_E1 = at::zeros({kExperts + 1}, at::kLong);
  const auto chosen = choices(result.routing);
  for (std::size_t token = 0; token < 13; ++token) {
    for (const Choice& choice : chosen[token]) {
      count_BE[sequence[token]][choice.expert] += 1;
    }
    if (valid[token]) {
      tokens_B[sequence[token]] += 1;
      histogram_E1[static_cast<std::int64_t>(chosen[token].size())] += 1;
    }
  }
  EXPECT_TRUE(same_bits(result.sums.count_BE, count_BE));
  EXPECT_TRUE(same_bits(result.sums.num_tokens_B, tokens_B));
  EXPECT_TRUE(same_bits(result.sums.k_histogram_E1, histogram_E1));
  EXPECT_FALSE(result.sums.count_BE.requires_grad());
}

TEST_P(RouterRouting, PaddingGetsNoExpertAndIsNeverRead) {
  const auto router = build();
  const RouterInput clean = padded_input();
  RouterInput dirty = clean;
  dirty.x_TH = clean.x_TH.clone();
  dirty.importance_T = clean.importance_T.clone();
  dirty.x_TH[5].fill_(kNan);
  dirty.x_TH[6].fill_(kInf);
  dirty.x_TH[8].fill_(1e30);
  dirty.importance_T[5].fill_(kNan);
  dirty.importance_T[8].fill_(1e30);
  const RouteResult result = router->route(dirty);
  for (const std::size_t padding : {5U, 6U, 8U, 10U}) {
    EXPECT_EQ(experts_per_token(result.routing)[padding], 0);
  }
  expect_same_bits(router->route(clean), result);
}

TEST_P(RouterRouting, PaddingGetsNoGradient) {
  const auto router = build();
  RouterInput input = padded_input();
  input.x_TH.set_requires_grad(true);
  objective(router->route(input)).backward();
  for (const std::int64_t padding : {5, 6, 8, 10}) {
    EXPECT_EQ(input.x_TH.grad()[padding].abs().sum().item<float>(), 0.0F);
  }
}

TEST_P(RouterRouting, UndefinedMaskMeansThatAllTokensAreValid) {
  const auto router = build();
  RouterInput input = make_input({4, 3}, {});
  const RouteResult masked = router->route(input);
  input.valid_T = at::Tensor();
  expect_same_bits(masked, router->route(input));
}

TEST_P(RouterRouting, RoutesABatchWithoutTokens) {
  for (const RouterInput& input :
       {make_input({}, {}), make_input({0, 0}, {}), make_input({2, 1}, {0, 1, 2})}) {
    const auto router = build();
    const at::Tensor x_TH = input.x_TH.clone().set_requires_grad(true);
    RouterInput tracked = input;
    tracked.x_TH = x_TH;
    const RouteResult result = router->route(tracked);
    EXPECT_NO_THROW(ops::check_routing(result.routing));
    EXPECT_EQ(result.routing.num_rows(), 0);
    EXPECT_EQ(result.sums.num_tokens_B.sum().item<std::int64_t>(), 0);
    EXPECT_EQ(result.sums.prob_sum_BE.abs().sum().item<float>(), 0.0F);
    EXPECT_EQ(result.sums.entropy_sum.item<float>(), 0.0F);
    EXPECT_EQ(result.sums.z_sum.item<float>(), 0.0F);
    objective(result).backward();
    EXPECT_EQ(x_TH.grad().abs().sum().item<float>(), 0.0F);
    EXPECT_EQ(router->weight().value.grad().abs().sum().item<float>(), 0.0F);
    router->after_step(global_sums(result.sums, 0));
    for (const auto& [name, value] : router->state()) {
      EXPECT_TRUE(at::isfinite(value).all().item<bool>()) << name;
    }
  }
}

TEST_P(RouterRouting, RepeatsBitForBit) {
  const auto first = build();
  const auto second = build();
  RouterInput input = padded_input();
  input.x_TH.set_requires_grad(true);
  const RouteResult a = first->route(input);
  objective(a).backward();
  const at::Tensor dx_TH = input.x_TH.grad().clone();
  input.x_TH.mutable_grad() = at::Tensor();
  const RouteResult b = second->route(input);
  objective(b).backward();
  expect_same_bits(a, b);
  EXPECT_TRUE(same_bits(dx_TH, input.x_TH.grad()));
  EXPECT_TRUE(same_bits(first->weight().value.grad(), second->weight().value.grad()));
}

TEST_P(RouterRouting, ComputesInTheAccumulationTypeWhateverTheModel) {
  const auto router = build(at::kBFloat16);
  EXPECT_EQ(router->weight().value.scalar_type(), at::kFloat);
  EXPECT_EQ(router->weight().value.sizes(), (std::vector<std::int64_t>{kExperts, kHidden}));
  EXPECT_EQ(router->weight().name, "model.layers.3.moe.router.weight");
  EXPECT_FALSE(router->weight().decay);
  EXPECT_EQ(build(at::kDouble)->weight().value.scalar_type(), at::kDouble);
  RouterInput input = padded_input(1, at::kBFloat16);
  const RouteResult from_bf16 = router->route(input);
  EXPECT_EQ(from_bf16.routing.row_weight_N.scalar_type(), at::kFloat);
  input.x_TH = input.x_TH.to(at::kFloat);
  expect_same_bits(from_bf16, build()->route(input));
}

TEST_P(RouterRouting, GradientsMatchCentralDifferences) {
  const auto router = build(at::kDouble);
  RouterInput input = padded_input(2, at::kDouble);
  input.x_TH.set_requires_grad(true);
  std::vector<at::Tensor> leaves{input.x_TH};
  for (const ops::Parameter* parameter : router->parameters()) leaves.push_back(parameter->value);
  const RouteResult reference = router->route(input);
  objective(reference).backward();
  for (const at::Tensor& leaf : leaves) {
    ASSERT_TRUE(leaf.grad().defined());
    EXPECT_GT(leaf.grad().abs().max().item<double>(), 1e-3);
    double* element = leaf.detach().mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < leaf.numel(); ++i) {
      constexpr double kStep = 1e-6;
      const double original = element[i];
      element[i] = original + kStep;
      const RouteResult above = router->route(input);
      element[i] = original - kStep;
      const RouteResult below = router->route(input);
      element[i] = original;
      ASSERT_TRUE(same_bits(above.routing.row_token_N, reference.routing.row_token_N));
      ASSERT_TRUE(same_bits(below.routing.row_token_N, reference.routing.row_token_N));
      const double expected =
          (objective(above).item<double>() - objective(below).item<double>()) / (2.0 * kStep);
      const double got = leaf.grad().reshape({-1})[i].item<double>();
      EXPECT_NEAR(got, expected, 1e-8 + 1e-6 * std::abs(expected)) << "element " << i;
    }
  }
}

TEST_P(RouterOrder, TiesGoToTheLowerExpert) {
  const auto router = build();
  router->weight().value.detach().zero_();
  const auto got = choices(router->route(padded_input()).routing);
  for (const auto& token : got) {
    for (std::size_t i = 0; i < token.size(); ++i) {
      EXPECT_EQ(token[i].expert, static_cast<std::int64_t>(i));
    }
  }
}

TEST_P(RouterOrder, AnExpertThatAlwaysLosesIsEmptyUnlessATokenTakesAll) {
  const auto router = build();
  RouterInput input = padded_input();
  input.x_TH.abs_().add_(0.1);
  router->weight().value.detach()[kExperts - 1].fill_(-20.0);
  const RouteResult result = router->route(input);
  EXPECT_NO_THROW(ops::check_routing(result.routing));
  EXPECT_EQ(result.sums.count_BE.sum(0)[kExperts - 1].item<std::int64_t>(),
            result.sums.k_histogram_E1[kExperts].item<std::int64_t>());
}

TEST(RouterContractSuite, CoversEveryRegisteredType) {
  std::set<std::string> covered;
  for (const RouterCase& entry : router_cases()) {
    covered.insert(entry.config.type);
  }
  for (const std::string& type : router_types()) {
    EXPECT_TRUE(covered.contains(type)) << "add router '" << type << "' to router_cases.h";
  }
}

TEST_P(RouterRouting, DrawsNoiseIfAndOnlyIfItsDescriptorSaysSo) {
  const bool declared = config::descriptor_of(GetParam().config).uses_noise;
  const auto router = build();
  std::vector<std::vector<Choice>> first;
  bool differs = false;
  for (std::int64_t step = 0; step < 8; ++step) {
    RouterInput input = padded_input();
    input.noise->step = step;
    const auto got = choices(router->route(input).routing);
    if (step == 0) first = got;
    for (std::size_t token = 0; token < got.size(); ++token) {
      differs = differs || got[token].size() != first[token].size();
      for (std::size_t i = 0; !differs && i < got[token].size(); ++i) {
        differs = got[token][i].expert != first[token][i].expert ||
                  got[token][i].weight != first[token][i].weight;
      }
    }
  }
  EXPECT_EQ(differs, declared);
  RouterInput silent = padded_input();
  silent.noise.reset();
  silent.training = declared ? false : silent.training;
  EXPECT_NO_THROW((void)router->route(silent));
}

TEST_P(RouterRouting, ReplayKeepsTheChoiceForOtherLogits) {
  const auto router = build();
  const RouteResult first = router->route(padded_input());
  RouterInput other = padded_input(2);
  ASSERT_FALSE(same_bits(router->route(other).routing.row_weight_N, first.routing.row_weight_N));
  train(*router, 3);  // a replay reads no state either
  other.importance_T = at::Tensor();
  expect_same_bits(router->replay(other, first), first);
}

TEST_P(RouterRouting, ReplayHasTheGradientsOfTheRoute) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const auto router = build(dtype);
    const at::Tensor& weight_EH = router->weight().value;
    RouterInput input = padded_input(1, dtype);
    input.x_TH.set_requires_grad(true);
    const RouteResult first = router->route(input);
    objective(first).backward();
    const at::Tensor expected_x = input.x_TH.grad().clone();
    const at::Tensor expected_weight = weight_EH.grad().clone();
    input.x_TH.mutable_grad().reset();
    weight_EH.mutable_grad().reset();
    objective(router->replay(input, first)).backward();
    EXPECT_TRUE(same_bits(input.x_TH.grad(), expected_x));
    EXPECT_TRUE(same_bits(weight_EH.grad(), expected_weight));
    EXPECT_GT(expected_weight.abs().max().item<double>(), 1e-3);
  }
}

}  // namespace
}  // namespace switchyard::routing
