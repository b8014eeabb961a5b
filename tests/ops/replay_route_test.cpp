#include "switchyard/ops/replay_route.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/index.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/route_support.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::ops::testing {
namespace {

// The expert of each row, [N] int64.
at::Tensor expert_of_row(const Routing& routing) {
  at::Tensor expert_N = at::zeros({routing.num_rows()}, at::kLong);
  const auto* offset = routing.expert_offset_E1.const_data_ptr<std::int32_t>();
  for (std::int64_t e = 0; e < routing.num_experts; ++e) {
    expert_N.narrow(0, offset[e], offset[e + 1] - offset[e]).fill_(e);
  }
  return expert_N;
}

// What the row weights of given pairs are at these logits, in ATen.
at::Tensor weights_of_pairs(const at::Tensor& logits_TE, const Routing& routing, bool renormalize) {
  const at::Tensor token_N = routing.row_token_N.to(at::kLong);
  const at::Tensor prob_N = at::index(at::softmax(logits_TE, 1), {token_N, expert_of_row(routing)});
  if (!renormalize) return prob_N;
  const at::Tensor sum_T =
      at::zeros({routing.num_tokens}, prob_N.options()).index_add(0, token_N, prob_N);
  return prob_N / sum_T.index_select(0, token_N);
}

TEST(ReplayRoute, KeepsValuesAndHasTheGradientOfItsPairsWhateverTheLogitsWouldChoose) {
  const at::Tensor offsets = int32_tensor({0, 2, 6});
  for (const bool renormalize : {false, true}) {
    const at::Tensor logits_TE = distinct_logits(6, 5).requires_grad_();
    // The negated logits choose the experts that these find least probable.
    const RouteOutput first = top_k_route(-logits_TE.detach(), {}, offsets,
                                          {.k = 2, .k_T = {}, .renormalize = renormalize});
    const RouteOutput replayed =
        replay_route(logits_TE, {}, offsets, {.first = first, .renormalize = renormalize});
    EXPECT_TRUE(at::equal(replayed.routing.expert_offset_E1, first.routing.expert_offset_E1));
    EXPECT_TRUE(at::equal(replayed.routing.row_token_N, first.routing.row_token_N));
    EXPECT_TRUE(at::equal(replayed.routing.row_weight_N, first.routing.row_weight_N));
    EXPECT_TRUE(at::equal(replayed.sums.prob_sum_BE, first.sums.prob_sum_BE));
    EXPECT_FALSE(first.routing.row_weight_N.requires_grad());

    const at::Tensor coefficient_N =
        at::linspace(0.3, 9.7, first.routing.num_rows(), at::kDouble).sin();
    (replayed.routing.row_weight_N * coefficient_N).sum().backward();
    const at::Tensor grad_TE = logits_TE.grad().clone();
    logits_TE.mutable_grad().reset();
    (weights_of_pairs(logits_TE, first.routing, renormalize) * coefficient_N).sum().backward();
    EXPECT_LT((grad_TE - logits_TE.grad()).abs().max().item<double>(), 1e-12);
    EXPECT_GT(grad_TE.abs().max().item<double>(), 1e-2);
  }
}

TEST(ReplayRoute, RefusesLogitsOfAnotherShape) {
  const at::Tensor offsets = int32_tensor({0, 6});
  const RouteOutput first = top_k_route(distinct_logits(6, 5), {}, offsets, {.k = 2, .k_T = {}});
  EXPECT_THROW((void)replay_route(distinct_logits(6, 4), {}, offsets, {.first = first}),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops::testing
