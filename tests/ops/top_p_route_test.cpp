#include "switchyard/ops/top_p_route.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

#include "ops/route_support.h"
#include "support/gradient.h"
#include "switchyard/core/error.h"
#include "switchyard/core/parallel.h"
#include "switchyard/ops/backend.h"

namespace switchyard::ops::testing {
namespace {

using switchyard::testing::expect_gradients_match;

TEST(TopPRoute, HasTheGradientOfCentralDifferencesForEveryOutput) {
  const at::Tensor logits_TE = distinct_logits(7, 5).requires_grad_();
  const at::Tensor valid_T = at::tensor({1, 1, 0, 1, 1, 1, 0}, at::kInt).to(at::kBool);
  const at::Tensor offsets = int32_tensor({0, 3, 3, 7});
  for (const bool renormalize : {false, true}) {
    for (const UsedOutputs& used : output_subsets()) {
      expect_gradients_match(
          [&](const std::vector<at::Tensor>& inputs) {
            return scalar_loss(
                top_p_route(inputs[0], valid_T, offsets,
                            {.p = 0.75, .max_experts = 3, .renormalize = renormalize}),
                used);
          },
          {logits_TE});
    }
  }
}

TEST(TopPRoute, GivesRoutingsThatPassTheCheckAndConserveCounts) {
  const at::Tensor logits_TE = at::randn({300, 16}, at::kFloat);
  const RouteOutput out = top_p_route(logits_TE, {}, int32_tensor({0, 120, 300}), {.p = 0.4});
  check_routing(out.routing);
  EXPECT_EQ(out.sums.count_BE.sum().item<std::int64_t>(), out.routing.num_rows());
  EXPECT_EQ(out.sums.num_tokens_B.sum().item<std::int64_t>(), 300);
  EXPECT_EQ(out.sums.k_histogram_E1.sum().item<std::int64_t>(), 300);
  EXPECT_NEAR(out.sums.prob_sum_BE.sum().item<float>(), 300.0F, 1e-3F);
  EXPECT_TRUE(out.routing.row_weight_N.gt(0).all().item<bool>());
}

TEST(TopPRoute, AcceptsNoTokensAndSequencesWithoutTokens) {
  const at::Tensor logits_TE = at::empty({0, 4}, at::kDouble).requires_grad_();
  const RouteOutput out = top_p_route(logits_TE, {}, int32_tensor({0, 0, 0}), {});
  check_routing(out.routing);
  EXPECT_EQ(out.routing.num_rows(), 0);
  EXPECT_EQ(out.sums.prob_sum_BE.size(0), 2);
  scalar_loss(out, {}).backward();
  EXPECT_EQ(logits_TE.grad().numel(), 0);
}

TEST(TopPRoute, IgnoresWhatPaddingTokensHold) {
  const at::Tensor valid_T = at::tensor({1, 0, 1}, at::kInt).to(at::kBool);
  const at::Tensor offsets = int32_tensor({0, 3});
  at::Tensor clean = distinct_logits(3, 4);
  at::Tensor dirty = clean.clone();
  dirty[1].fill_(std::numeric_limits<double>::quiet_NaN());
  dirty.requires_grad_();
  clean.requires_grad_();
  scalar_loss(top_p_route(clean, valid_T, offsets, {}), {}).backward();
  scalar_loss(top_p_route(dirty, valid_T, offsets, {}), {}).backward();
  EXPECT_TRUE(at::equal(clean.grad(), dirty.grad()));
  EXPECT_TRUE(at::equal(clean.grad()[1], at::zeros({4}, at::kDouble)));
}

TEST(TopPRoute, HasFiniteSumsAndGradientsAtProbabilityZero) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const at::Tensor logits_TE =
      at::tensor({0.0, -kInf, 1.0, -5000.0}, at::kDouble).reshape({1, 4}).requires_grad_();
  const RouteOutput out = top_p_route(logits_TE, {}, int32_tensor({0, 1}), {.p = 1.0});
  // Two experts share all the probability, 1 / (1 + e) and e / (1 + e).
  EXPECT_NEAR(out.sums.entropy_sum.item<double>(), 0.58220310, 1e-8);
  scalar_loss(out, {}).backward();
  EXPECT_TRUE(at::isfinite(logits_TE.grad()).all().item<bool>());
  EXPECT_EQ(logits_TE.grad()[0][1].item<double>(), 0.0);
}

TEST(TopPRoute, GivesTheSameBitsWithOneThreadAndTwoForwardAndBackward) {
  install_parallel_backend();
  const at::Tensor logits_TE = at::randn({5000, 8}, at::kFloat);
  const at::Tensor offsets = int32_tensor({0, 1000, 5000});
  const auto run = [&](int num_threads) {
    at::set_num_threads(num_threads);
    const at::Tensor leaf = logits_TE.clone().requires_grad_();
    const RouteOutput out = top_p_route(leaf, {}, offsets, {.p = 0.6});
    scalar_loss(out, {}).backward();
    return std::vector<at::Tensor>{out.routing.row_token_N, out.routing.row_weight_N,
                                   out.sums.prob_sum_BE, out.sums.entropy_sum, leaf.grad()};
  };
  const auto one = run(1);
  const auto two = run(2);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], two[i])) << i;
  set_parallel_backend(nullptr);
}

TEST(TopPRoute, TakesLogitsAndGradientsInAnyLayout) {
  const at::Tensor offsets = int32_tensor({0, 4});
  const at::Tensor straight = distinct_logits(4, 3).requires_grad_();
  const at::Tensor transposed = straight.detach().t().contiguous().requires_grad_();
  const auto sum_weights = [&](const at::Tensor& logits_TE) {
    return top_p_route(logits_TE, {}, offsets, {.p = 0.5}).routing.row_weight_N.sum();
  };
  sum_weights(straight).backward();  // the gradient of sum() is an expanded tensor
  sum_weights(transposed.t()).backward();
  EXPECT_TRUE(at::equal(straight.grad(), transposed.grad().t()));
}

TEST(TopPRoute, RefusesArgumentsThatBreakTheContract) {
  const at::Tensor logits_TE = distinct_logits(3, 4);
  const at::Tensor offsets = int32_tensor({0, 3});
  EXPECT_THROW((void)top_p_route(logits_TE, {}, offsets, {.p = 0.0}), InternalError);
  EXPECT_THROW((void)top_p_route(logits_TE, {}, offsets, {.p = 1.5}), InternalError);
  EXPECT_THROW((void)top_p_route(logits_TE, {}, int32_tensor({0, 2}), {}), InternalError);
  EXPECT_THROW((void)top_p_route(logits_TE, {}, int32_tensor({0, 3, 2, 3}), {}), InternalError);
  EXPECT_THROW((void)top_p_route(logits_TE, at::zeros({3}, at::kInt), offsets, {}), InternalError);
  EXPECT_THROW((void)top_p_route(logits_TE.to(at::kBFloat16), {}, offsets, {}), InternalError);
}

}  // namespace
}  // namespace switchyard::ops::testing
