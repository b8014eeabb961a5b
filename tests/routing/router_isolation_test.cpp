// What no router may let happen, run on every entry of router_cases.h: one token's, sequence's or
// later position's values reaching another's routing, or state changing when it should not.
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "routing/router_contract.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

class RouterIsolation : public RouterContract {};

INSTANTIATE_TEST_SUITE_P(Routers, RouterIsolation, ::testing::ValuesIn(router_cases()),
                         [](const auto& instance) { return instance.param.name; });

class CausalRouterIsolation : public RouterContract {};

std::vector<RouterCase> causal_cases() {
  std::vector<RouterCase> cases = router_cases();
  std::erase_if(cases, [](const RouterCase& entry) { return !entry.causal; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Routers, CausalRouterIsolation, ::testing::ValuesIn(causal_cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(RouterIsolation, AnyBitsGiveAValidRoutingAndStayInTheirToken) {
  const auto router = build();
  const RouterInput clean = make_input({6}, {});
  RouterInput dirty = clean;
  dirty.x_TH = clean.x_TH.clone();
  dirty.x_TH[1][0].fill_(kNan);
  dirty.x_TH[2][1].fill_(kInf);
  dirty.x_TH[3][2].fill_(-kInf);
  dirty.x_TH[4].fill_(std::numeric_limits<float>::max());
  const RouteResult result = router->route(dirty);
  EXPECT_NO_THROW(ops::check_routing(result.routing));
  const auto got = choices(result.routing);
  if (!got[1].empty()) {  // every logit of this token is NaN
    EXPECT_EQ(got[1][0].expert, 0);
    EXPECT_TRUE(std::isnan(got[1][0].weight));
  }
  expect_same_choices(router->route(clean).routing, result.routing, 0, 1);
  expect_same_choices(router->route(clean).routing, result.routing, 5, 6);

  router->weight().value.detach()[2].fill_(kNan);  // one expert whose logit is always NaN
  EXPECT_NO_THROW(ops::check_routing(router->route(clean).routing));
}

TEST_P(RouterIsolation, AnyImportanceGivesAValidRouting) {
  const auto router = build();
  RouterInput input = make_input({6}, {});
  input.importance_T[1].fill_(kNan);
  input.importance_T[3].fill_(kInf);
  input.importance_T[4].fill_(-kInf);
  EXPECT_NO_THROW(ops::check_routing(router->route(input).routing));
}

TEST_P(RouterIsolation, SequencesDoNotFeelEachOther) {
  const auto router = build();
  const RouterInput input = padded_input();
  const RouteResult before = router->route(input);
  RouterInput changed = input;
  changed.x_TH = input.x_TH.clone();
  changed.importance_T = input.importance_T.clone();
  changed.x_TH.narrow(0, 0, 7).mul_(-3.0);
  changed.importance_T.narrow(0, 0, 7).mul_(2.7);
  changed.x_TH[1].fill_(kNan);
  changed.importance_T[1].fill_(kNan);
  const RouteResult after = router->route(changed);
  expect_same_choices(before.routing, after.routing, 7, 13);
  EXPECT_TRUE(same_bits(before.sums.count_BE.narrow(0, 1, 3), after.sums.count_BE.narrow(0, 1, 3)));
  EXPECT_TRUE(
      same_bits(before.sums.prob_sum_BE.narrow(0, 1, 3), after.sums.prob_sum_BE.narrow(0, 1, 3)));
}

TEST_P(RouterIsolation, RoutesSequencesTogetherAsOneByOne) {
  const auto router = build();
  const RouterInput together = make_input({5, 4}, {4, 5});
  const auto expected = choices(router->route(together).routing);
  for (const auto& [begin, length] : {std::pair<std::int64_t, std::int64_t>{0, 5}, {5, 4}}) {
    RouterInput alone = together;
    alone.x_TH = together.x_TH.narrow(0, begin, length);
    alone.valid_T = together.valid_T.narrow(0, begin, length);
    alone.importance_T = together.importance_T.narrow(0, begin, length);
    alone.noise->token_idx_T = together.noise->token_idx_T.narrow(0, begin, length);
    alone.sequence_offset_B1 = offsets({length});
    const auto got = choices(router->route(alone).routing);
    for (std::size_t token = 0; token < got.size(); ++token) {
      const auto& other = expected[token + static_cast<std::size_t>(begin)];
      ASSERT_EQ(got[token].size(), other.size());
      for (std::size_t i = 0; i < other.size(); ++i) {
        EXPECT_EQ(got[token][i].expert, other[i].expert);
        EXPECT_NEAR(got[token][i].weight, other[i].weight, 1e-6);
      }
    }
  }
}

TEST_P(CausalRouterIsolation, RoutingNeverDependsOnLaterTokens) {
  const auto router = build();
  const RouterInput input = padded_input();
  const ops::Routing before = router->route(input).routing;
  for (std::int64_t last = 0; last < 6; ++last) {
    RouterInput changed = input;
    changed.x_TH = input.x_TH.clone();
    changed.importance_T = input.importance_T.clone();
    changed.valid_T = input.valid_T.clone();
    changed.x_TH.narrow(0, last + 1, 6 - last).mul_(-5.0).add_(0.3);
    changed.importance_T.narrow(0, last + 1, 6 - last).mul_(0.1);
    changed.valid_T.narrow(0, last + 1, 6 - last).logical_not_();
    expect_same_choices(before, router->route(changed).routing, 0, last + 1);
  }
}

// Generation: the keys of the first tokens are cached, the batch holds the others.
TEST_P(CausalRouterIsolation, NewTokensBehindACacheGetTheirExpertsOfTheWholeSequence) {
  const auto router = build();
  const RouterInput whole = make_input({5, 3}, {});
  const auto expected = choices(router->route(whole).routing);
  RouterInput rest = whole;
  const std::vector<std::int64_t> kept = {3, 4, 6, 7};
  const at::Tensor kept_idx = at::tensor(kept, at::kLong);
  rest.x_TH = whole.x_TH.index_select(0, kept_idx);
  rest.importance_T = whole.importance_T.index_select(0, kept_idx);
  rest.noise->token_idx_T = whole.noise->token_idx_T.index_select(0, kept_idx);
  rest.valid_T = at::Tensor();
  rest.sequence_offset_B1 = offsets({2, 2});
  rest.cached_keys_B = at::tensor(std::vector<std::int64_t>{3, 1}, at::kLong);
  const auto got = choices(router->route(rest).routing);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const auto& other = expected[static_cast<std::size_t>(kept[i])];
    ASSERT_EQ(got[i].size(), other.size()) << "token " << kept[i];
    for (std::size_t j = 0; j < other.size(); ++j) {
      EXPECT_EQ(got[i][j].expert, other[j].expert);
      EXPECT_NEAR(got[i][j].weight, other[j].weight, 1e-6);
    }
  }
}

TEST_P(RouterIsolation, OnlyAfterStepChangesTheState) {
  for (const bool training : {true, false}) {
    const auto router = build();
    const auto untouched = build();
    RouterInput input = padded_input();
    input.training = training;
    for (int i = 0; i < 3; ++i) (void)router->route(input);
    expect_same_state(*router, *untouched);
    expect_same_bits(router->route(input), untouched->route(input));
  }
}

TEST_P(RouterIsolation, RestoresItsState) {
  const auto trained = build();
  train(*trained, 4);
  const auto restored = build();
  restored->load_state(trained->state());
  expect_same_state(*trained, *restored);
  for (const auto& [name, value] : trained->state()) {
    EXPECT_EQ(value.scalar_type(), at::kFloat) << name;
    EXPECT_FALSE(value.requires_grad()) << name;
    EXPECT_FALSE(same_bits(value, build()->state().at(name))) << name << " never changed";
  }
  const RouterInput input = padded_input(3);
  expect_same_bits(trained->route(input), restored->route(input));
  const GlobalSums sums = global_sums(trained->route(input).sums, 4);
  trained->after_step(sums);
  restored->after_step(sums);
  expect_same_state(*trained, *restored);
}

TEST_P(RouterIsolation, RefusesStateThatIsNotItsOwn) {
  const auto router = build();
  train(*router, 2);
  const auto good = router->state();
  auto extra = good;
  extra["stranger"] = at::zeros({}, at::kFloat);
  EXPECT_THROW(router->load_state(extra), DataError);
  for (const auto& [name, value] : good) {
    auto bad = good;
    bad.erase(name);
    EXPECT_THROW(router->load_state(bad), DataError);
    bad[name] = at::zeros({2, 3}, at::kFloat);
    EXPECT_THROW(router->load_state(bad), DataError);
    bad[name] = value.to(at::kDouble);
    EXPECT_THROW(router->load_state(bad), DataError);
    bad[name] = at::full_like(value, kNan);
    EXPECT_THROW(router->load_state(bad), DataError);
    bad[name] = at::Tensor();
    EXPECT_THROW(router->load_state(bad), DataError);
  }
  const auto after = router->state();
  for (const auto& [name, value] : good) {
    EXPECT_TRUE(same_bits(value, after.at(name))) << "a refused load changed " << name;
  }
}

}  // namespace
}  // namespace switchyard::routing
