#include "switchyard/ops/top_k_route.h"

#include <gtest/gtest.h>

#include "ops/route_support.h"
#include "support/gradient.h"
#include "switchyard/core/error.h"

namespace switchyard::ops::testing {
namespace {

using switchyard::testing::expect_gradients_match;

TEST(TopKRoute, HasTheGradientOfCentralDifferencesForEveryOutput) {
  const at::Tensor logits_TE = distinct_logits(6, 5).requires_grad_();
  const at::Tensor offsets = int32_tensor({0, 2, 6});
  for (const bool renormalize : {false, true}) {
    for (const UsedOutputs& used : output_subsets()) {
      expect_gradients_match(
          [&](const std::vector<at::Tensor>& inputs) {
            return scalar_loss(top_k_route(inputs[0], {}, offsets,
                                           {.k = 2, .k_T = {}, .renormalize = renormalize}),
                               used);
          },
          {logits_TE});
    }
  }
}

TEST(TopKRoute, HasTheRightGradientWhenEveryTokenHasItsOwnNumberOfExperts) {
  const at::Tensor logits_TE = distinct_logits(6, 4).requires_grad_();
  const at::Tensor offsets = int32_tensor({0, 6});
  const at::Tensor k_T = int32_tensor({0, 4, 1, 2, 3, 0});
  for (const bool renormalize : {false, true}) {
    expect_gradients_match(
        [&](const std::vector<at::Tensor>& inputs) {
          const RouteOutput out =
              top_k_route(inputs[0], {}, offsets, {.k_T = k_T, .renormalize = renormalize});
          EXPECT_EQ(out.routing.num_rows(), 10);
          return scalar_loss(out, {});
        },
        {logits_TE});
  }
}

TEST(TopKRoute, RenormalisedWeightsOfATokenSumToOne) {
  const RouteOutput out =
      top_k_route(distinct_logits(50, 6), {}, int32_tensor({0, 50}), {.k = 3, .k_T = {}});
  check_routing(out.routing);
  EXPECT_NEAR(out.routing.row_weight_N.sum().item<double>(), 50.0, 1e-12);
}

TEST(TopKRoute, RefusesMoreExpertsThanThereAre) {
  const at::Tensor offsets = int32_tensor({0, 3});
  EXPECT_THROW((void)top_k_route(distinct_logits(3, 4), {}, offsets, {.k = 5, .k_T = {}}),
               InternalError);
  EXPECT_THROW((void)top_k_route(distinct_logits(3, 4), {}, offsets, {.k_T = int32_tensor({1, 1})}),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops::testing
