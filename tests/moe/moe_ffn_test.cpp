#include "switchyard/moe/moe_ffn.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <vector>

#include "moe/moe_reference.h"
#include "support/counting_allocator.h"
#include "support/gradient.h"
#include "switchyard/core/error.h"
#include "switchyard/core/parallel.h"
#include "switchyard/ops/backend.h"

namespace switchyard::moe::testing {
namespace {

using switchyard::testing::expect_close;
using switchyard::testing::expect_gradients_match;

std::shared_ptr<ExpertCompute> loop(at::ScalarType dtype = at::kDouble) {
  return make_expert_compute("loop", {.dtype = dtype});
}

at::Tensor run(const MoeInputs& in, const GradSink& sink = {}) {
  return moe_ffn(in.x_TH, in.routing, in.w1_E2FH, in.w2_EHF, loop(in.x_TH.scalar_type()), sink);
}

TEST(MoeFfn, HasTheGradientOfCentralDifferencesForAllInputs) {
  const Shape shape{.num_tokens = 6, .hidden = 3, .size = 4, .num_experts = 3};
  const MoeInputs in = random_inputs(shape, {0, 1, 3, 2, 1, 0}, at::kDouble);
  const at::Tensor probe_TH = random_normal({6, 3}, 7);
  expect_gradients_match(
      [&](const std::vector<at::Tensor>& leaves) {
        ops::Routing routing = in.routing;
        routing.row_weight_N = leaves[1];
        return (moe_ffn(leaves[0], routing, leaves[2], leaves[3], loop(), {}) * probe_TH).sum();
      },
      {in.x_TH, in.routing.row_weight_N, in.w1_E2FH, in.w2_EHF});
}

TEST(MoeFfn, TakesInputsAndGradientsThatDoNotLieRowByRow) {
  const Shape shape{.num_tokens = 6, .hidden = 3, .size = 4, .num_experts = 3};
  const MoeInputs in = random_inputs(shape, {0, 1, 3, 2, 1, 0}, at::kDouble);
  const at::Tensor dy_TH = random_normal({6, 3}, 7);
  const auto y_and_dx = [&](const at::Tensor& x, const at::Tensor& dy) {
    const at::Tensor x_TH = x.detach().requires_grad_();
    const at::Tensor y_TH =
        moe_ffn(x_TH, in.routing, in.w1_E2FH.detach(), in.w2_EHF.detach(), loop(), {});
    y_TH.backward(dy);
    return std::pair(y_TH.detach(), x_TH.grad());
  };
  const auto by_columns = [](const at::Tensor& x) { return x.detach().t().contiguous().t(); };
  const auto [y_TH, dx_TH] = y_and_dx(in.x_TH, dy_TH);
  const auto [y_of_columns, dx_of_columns] = y_and_dx(by_columns(in.x_TH), by_columns(dy_TH));
  EXPECT_TRUE(at::equal(y_of_columns, y_TH));
  EXPECT_TRUE(at::equal(dx_of_columns, dx_TH));
}

TEST(MoeFfn, CarriesTheGradientBackToTheRoutersLogits) {
  const Shape shape{.num_tokens = 5, .hidden = 3, .size = 2, .num_experts = 3};
  const MoeInputs in = random_inputs(shape, {1, 1, 1, 1, 1}, at::kDouble);
  const at::Tensor logits_TE = with_grad(random_normal({5, 3}, 1));
  const at::Tensor probe_TH = random_normal({5, 3}, 7);
  expect_gradients_match(
      [&](const std::vector<at::Tensor>& leaves) {
        const ops::Routing routing = ops::top_k_route(leaves[0], {}, at::tensor({0, 5}, at::kInt),
                                                      {.k = 2, .renormalize = true})
                                         .routing;
        return (moe_ffn(in.x_TH.detach(), routing, in.w1_E2FH.detach(), in.w2_EHF.detach(), loop(),
                        {}) *
                probe_TH)
            .sum();
      },
      {logits_TE});
}

TEST(MoeFfn, WithOneExpertOfWeightOneIsAPlainSwigluMlp) {
  const Shape shape{.num_tokens = 9, .hidden = 4, .size = 6, .num_experts = 1};
  MoeInputs in = random_inputs(shape, std::vector<std::int32_t>(9, 1), at::kDouble);
  in.routing.row_weight_N = at::ones_like(in.routing.row_weight_N);
  const at::Tensor gate_up = at::matmul(in.x_TH, in.w1_E2FH[0].t());
  const at::Tensor mlp =
      at::matmul(at::silu(gate_up.narrow(1, 0, 6)) * gate_up.narrow(1, 6, 6), in.w2_EHF[0].t());
  expect_close(run(in), mlp, 1e-14, 1e-13);
}

TEST(MoeFfn, WithEqualExpertsAndWeightsThatSumToOneDoesNotDependOnTheRouting) {
  const Shape shape{.num_tokens = 9, .hidden = 4, .size = 6, .num_experts = 5};
  MoeInputs in = random_inputs(shape, {1, 2, 3, 4, 5, 4, 3, 2, 1}, at::kDouble);
  in.w1_E2FH = in.w1_E2FH.detach()[0].expand({5, 12, 4}).contiguous();
  in.w2_EHF = in.w2_EHF.detach()[0].expand({5, 4, 6}).contiguous();
  in.routing = ops::top_k_route(
                   random_normal({9, 5}, 1), {}, at::tensor({0, 9}, at::kInt),
                   {.k_T = at::tensor({1, 2, 3, 4, 5, 4, 3, 2, 1}, at::kInt), .renormalize = true})
                   .routing;
  const at::Tensor gate_up = at::matmul(in.x_TH, in.w1_E2FH[0].t());
  const at::Tensor mlp =
      at::matmul(at::silu(gate_up.narrow(1, 0, 6)) * gate_up.narrow(1, 6, 6), in.w2_EHF[0].t());
  expect_close(run(in), mlp, 1e-13, 1e-12);
}

TEST(MoeFfn, SendsEachRowThroughTheExpertItIsRoutedTo) {
  // Expert e multiplies by e + 1 (for large gates silu(g) u = g u): y says which experts ran.
  const Shape shape{.num_tokens = 6, .hidden = 1, .size = 1, .num_experts = 3};
  MoeInputs in = random_inputs(shape, {0, 1, 2, 3, 2, 1}, at::kDouble);
  in.x_TH = at::arange(1, 7, at::kDouble).reshape({6, 1}) * 100.0;
  in.w1_E2FH =
      at::tensor({1.0, 1.0}, at::kDouble).reshape({1, 2, 1}).expand({3, 2, 1}).contiguous();
  in.w2_EHF = at::tensor({1.0, 10.0, 100.0}, at::kDouble).reshape({3, 1, 1});
  in.routing.row_weight_N = at::ones_like(in.routing.row_weight_N);
  const at::Tensor y_TH = run(in);
  std::vector<double> factor_T(6, 0.0);
  for (std::int64_t e = 0; e < 3; ++e) {
    for (auto r = in.routing.expert_offset_E1[e].item<int>();
         r < in.routing.expert_offset_E1[e + 1].item<int>(); ++r) {
      factor_T[static_cast<std::size_t>(in.routing.row_token_N[r].item<int>())] +=
          in.w2_EHF[e].item<double>();
    }
  }
  for (std::int64_t t = 0; t < 6; ++t) {
    const double x = in.x_TH[t].item<double>();
    EXPECT_NEAR(y_TH[t].item<double>(), factor_T[static_cast<std::size_t>(t)] * x * x,
                1e-6 * x * x);
  }
}

TEST(MoeFfn, AddsWeightGradientsOfTwoMicroBatchesToTheSink) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Shape shape;
    const MoeInputs in = random_inputs(shape, variable_k(shape), dtype);
    const at::ScalarType accumulation = in.routing.row_weight_N.scalar_type();
    const GradSink sink{.w1_E2FH = at::zeros_like(in.w1_E2FH, accumulation),
                        .w2_EHF = at::zeros_like(in.w2_EHF, accumulation)};
    run(in, sink).square().sum().backward();
    const at::Tensor once_w1 = sink.w1_E2FH.clone();
    const at::Tensor once_w2 = sink.w2_EHF.clone();
    run(in, sink).square().sum().backward();
    EXPECT_FALSE(in.w1_E2FH.grad().defined());
    EXPECT_FALSE(in.w2_EHF.grad().defined());
    expect_near_in_norm(sink.w1_E2FH, 2.0 * once_w1, tolerance(at::kFloat), "dW1");
    expect_near_in_norm(sink.w2_EHF, 2.0 * once_w2, tolerance(at::kFloat), "dW2");
    // Without a sink autograd carries the same gradients, in the weights' dtype.
    run(in).square().sum().backward();
    EXPECT_EQ(in.w1_E2FH.grad().scalar_type(), dtype);
    expect_near_in_norm(in.w1_E2FH.grad(), once_w1, tolerance(dtype), "dW1 by autograd");
    expect_near_in_norm(in.w2_EHF.grad(), once_w2, tolerance(dtype), "dW2 by autograd");
  }
}

TEST(MoeFfn, GivesExpertsWithoutRowsZeroGradientsNotMissingOnes) {
  const Shape shape{.num_tokens = 4, .hidden = 3, .size = 2, .num_experts = 3};
  const MoeInputs in = random_inputs(shape, {0, 0, 0, 0}, at::kDouble);
  run(in).sum().backward();
  for (const at::Tensor& leaf : {in.x_TH, in.w1_E2FH, in.w2_EHF}) {
    ASSERT_TRUE(leaf.grad().defined());
    EXPECT_TRUE(at::equal(leaf.grad(), at::zeros_like(leaf)));
  }
}

TEST(MoeFfn, DifferentiatesWhenExpertsRunOnThreadsOfTheirOwn) {
  at::set_num_threads(2);
  ops::install_parallel_backend(ops::Blocks::on_the_calling_thread);
  // Enough work for the second thread to wake up before the first has done everything.
  const Shape shape{.num_tokens = 1024, .hidden = 64, .size = 48, .num_experts = 8};
  const MoeInputs in = random_inputs(shape, std::vector<std::int32_t>(1024, 4), at::kDouble);
  run(in).square().sum().backward();
  const at::Tensor dw1 = in.w1_E2FH.grad().clone();
  const at::Tensor dx = in.x_TH.grad().clone();
  in.w1_E2FH.mutable_grad().reset();
  in.x_TH.mutable_grad().reset();
  ops::install_parallel_backend();
  run(in).square().sum().backward();
  EXPECT_TRUE(at::equal(dw1, in.w1_E2FH.grad()));
  EXPECT_TRUE(at::equal(dx, in.x_TH.grad()));
  in.w1_E2FH.mutable_grad().reset();
  in.x_TH.mutable_grad().reset();
  moe_by_definition(in.x_TH, in.routing, in.routing.row_weight_N, in.w1_E2FH, in.w2_EHF)
      .square()
      .sum()
      .backward();
  expect_near_in_norm(dw1, in.w1_E2FH.grad(), 1e-13, "dW1");
  expect_near_in_norm(dx, in.x_TH.grad(), 1e-13, "dx");
  set_parallel_backend(nullptr);
}

TEST(MoeFfn, ShowsANaNWeightInItsTokenOnly) {
  const Shape shape{.num_tokens = 4, .hidden = 3, .size = 2, .num_experts = 3};
  MoeInputs in = random_inputs(shape, {1, 2, 1, 1}, at::kDouble);
  in.routing.row_weight_N = in.routing.row_weight_N.detach().clone();
  const std::int64_t token = in.routing.row_token_N[0].item<int>();
  in.routing.row_weight_N[0] = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor y_TH = run(in);
  for (std::int64_t t = 0; t < 4; ++t) {
    EXPECT_EQ(y_TH[t].isnan().all().item<bool>(), t == token);
  }
}

TEST(MoeFfn, KeepsTheGateAndUpRowsForBackwardButNoRowsOfHiddenSize) {
  const Shape shape{.num_tokens = 64, .hidden = 512, .size = 8, .num_experts = 8};
  const MoeInputs in = random_inputs(shape, std::vector<std::int32_t>(64, 8), at::kFloat);
  const switchyard::testing::CountingAllocator allocator;
  const std::int64_t before = switchyard::testing::CountingAllocator::live_bytes;
  const at::Tensor y_TH = run(in);
  const std::int64_t kept = switchyard::testing::CountingAllocator::live_bytes - before;
  const std::int64_t num_rows = in.routing.num_rows();
  const std::int64_t output_bytes = 4 * 64 * 512;
  const std::int64_t gate_up_bytes = 4 * num_rows * 2 * 8;
  EXPECT_GE(kept, output_bytes + gate_up_bytes);
  EXPECT_LT(kept, output_bytes + gate_up_bytes + 4096);
  EXPECT_GT(4 * num_rows * 512, 4 * gate_up_bytes) << "rows of hidden size would not show";
}

// The rest of the derivative is with whoever adds the results up: weighted results, of which it
// passes the gradient on as it is.
TEST(MoeFfn, LeavesTheWeightsOfRowsThatAreTokensToOthers) {
  const Shape shape{.num_tokens = 6, .hidden = 3, .size = 4, .num_experts = 3};
  MoeInputs in = random_inputs(shape, {1, 1, 1, 1, 1, 1}, at::kDouble);
  in.routing.expert_offset_E1 = at::tensor({0, 4, 4, 6}, at::kInt);
  in.routing.row_token_N = in.routing.token_row_N = at::arange(6, at::kInt);
  const at::Tensor dy_TH = random_normal({6, 3}, 7);
  const std::vector<at::Tensor> leaves{in.x_TH, in.routing.row_weight_N, in.w1_E2FH, in.w2_EHF};
  const auto gradients = [&](const at::Tensor& y_TH) {
    for (const at::Tensor& leaf : leaves) leaf.mutable_grad().reset();
    y_TH.backward(dy_TH);
    std::vector<at::Tensor> result;
    for (const at::Tensor& leaf : leaves) result.push_back(leaf.grad());
    return result;
  };
  const at::Tensor weighted_TH = run(in);
  const std::vector<at::Tensor> expected = gradients(weighted_TH);

  in.routing.row_token_N = in.routing.token_row_N = in.routing.token_offset_T1 = at::Tensor();
  const at::Tensor y_TH = run(in);
  EXPECT_TRUE(at::equal(y_TH * in.routing.row_weight_N.unsqueeze(1), weighted_TH));
  const std::vector<at::Tensor> actual = gradients(y_TH);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    EXPECT_TRUE(at::equal(actual[i], expected[i])) << i;
  }

  in.routing.token_row_N = at::arange(6, at::kInt);
  EXPECT_THROW((void)run(in), InternalError) << "an index that was forgotten";
}

TEST(MoeFfn, RefusesInputsThatDoNotFitTogether) {
  const MoeInputs in = random_inputs({}, variable_k({}), at::kDouble);
  const auto compute = loop();
  EXPECT_THROW(
      (void)moe_ffn(in.x_TH.narrow(0, 0, 3), in.routing, in.w1_E2FH, in.w2_EHF, compute, {}),
      InternalError);
  EXPECT_THROW((void)moe_ffn(in.x_TH, in.routing, in.w2_EHF, in.w1_E2FH, compute, {}),
               InternalError);
  EXPECT_THROW(
      (void)moe_ffn(in.x_TH.to(at::kFloat), in.routing, in.w1_E2FH, in.w2_EHF, compute, {}),
      InternalError);
  EXPECT_THROW((void)moe_ffn(in.x_TH, in.routing, in.w1_E2FH, in.w2_EHF, compute,
                             {.w1_E2FH = at::zeros_like(in.w1_E2FH, at::kFloat)}),
               InternalError);
}

}  // namespace
}  // namespace switchyard::moe::testing
