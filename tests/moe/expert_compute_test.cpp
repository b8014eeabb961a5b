#include "switchyard/moe/expert_compute.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "moe/expert_compute.h"
#include "moe/moe_reference.h"
#include "switchyard/core/error.h"
#include "switchyard/core/parallel.h"
#include "switchyard/ops/backend.h"

namespace switchyard::moe::testing {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string name;
  at::ScalarType dtype;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name << " " << at::toString(c.dtype);
}

class ExpertComputeOf : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { ops::install_parallel_backend(); }
  void TearDown() override { set_parallel_backend(nullptr); }

  static std::shared_ptr<ExpertCompute> compute(const Shape& shape) {
    return make_expert_compute(
        GetParam().name,
        {.dtype = GetParam().dtype, .hidden_size = shape.hidden, .expert_size = shape.size});
  }
};

struct Results {
  at::Tensor y_TH, dx_TH, dweight_N, dw1_E2FH, dw2_EHF;
};

Results run(ExpertCompute& compute, const MoeInputs& in, const at::Tensor& dy_TH) {
  const at::ScalarType accumulation = in.routing.row_weight_N.scalar_type();
  const GradSink sink{.w1_E2FH = at::zeros(in.w1_E2FH.sizes(), accumulation),
                      .w2_EHF = at::zeros(in.w2_EHF.sizes(), accumulation)};
  ops::Routing routing = in.routing;
  routing.row_weight_N = routing.row_weight_N.detach();
  const at::Tensor x_TH = in.x_TH.detach();
  const at::Tensor w1 = in.w1_E2FH.detach();
  const at::Tensor w2 = in.w2_EHF.detach();
  const auto forward = compute.forward(x_TH, routing, w1, w2);
  const auto backward = compute.backward(dy_TH, x_TH, forward.gate_up_N2F, routing, w1, w2, sink);
  return {forward.y_TH, backward.dx_TH, backward.dweight_N, sink.w1_E2FH, sink.w2_EHF};
}

// The same in double by torch's autograd, from the same (rounded) inputs.
Results by_definition(const MoeInputs& in, const at::Tensor& dy_TH) {
  const auto leaf = [](const at::Tensor& tensor) {
    return with_grad(tensor.detach().to(at::kDouble).clone());
  };
  const at::Tensor x_TH = leaf(in.x_TH);
  const at::Tensor weight_N = leaf(in.routing.row_weight_N);
  const at::Tensor w1 = leaf(in.w1_E2FH);
  const at::Tensor w2 = leaf(in.w2_EHF);
  const at::Tensor y_TH = moe_by_definition(x_TH, in.routing, weight_N, w1, w2);
  y_TH.backward(dy_TH.to(at::kDouble));
  return {y_TH, x_TH.grad(), weight_N.grad(), w1.grad(), w2.grad()};
}

TEST_P(ExpertComputeOf, MatchesTheDefinitionForwardAndBackward) {
  // Few rows per expert and many (several paddings of bf16, threads over experts).
  for (const Shape& shape :
       {Shape{}, Shape{.num_tokens = 700, .hidden = 24, .size = 16, .num_experts = 8}}) {
    const MoeInputs in = random_inputs(shape, variable_k(shape), GetParam().dtype);
    const at::Tensor dy_TH = random_normal({shape.num_tokens, shape.hidden}, 6, GetParam().dtype);
    const Results actual = run(*compute(shape), in, dy_TH);
    const Results expected = by_definition(in, dy_TH);
    const double limit = tolerance(GetParam().dtype);
    EXPECT_EQ(actual.y_TH.scalar_type(), GetParam().dtype);
    EXPECT_EQ(actual.dweight_N.scalar_type(), in.routing.row_weight_N.scalar_type());
    expect_near_in_norm(actual.y_TH, expected.y_TH, limit, "y");
    expect_near_in_norm(actual.dx_TH, expected.dx_TH, limit, "dx");
    expect_near_in_norm(actual.dweight_N, expected.dweight_N, limit, "dweight");
    expect_near_in_norm(actual.dw1_E2FH, expected.dw1_E2FH, limit, "dW1");
    expect_near_in_norm(actual.dw2_EHF, expected.dw2_EHF, limit, "dW2");
  }
}

TEST_P(ExpertComputeOf, GivesTheSameBitsOnEveryRunWithTwoThreads) {
  const Shape shape{.num_tokens = 400, .hidden = 32, .size = 24, .num_experts = 6};
  const MoeInputs in = random_inputs(shape, variable_k(shape), GetParam().dtype);
  const at::Tensor dy_TH = random_normal({shape.num_tokens, shape.hidden}, 6, GetParam().dtype);
  at::set_num_threads(2);
  const Results first = run(*compute(shape), in, dy_TH);
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Results again = run(*compute(shape), in, dy_TH);
    EXPECT_TRUE(at::equal(first.y_TH, again.y_TH));
    EXPECT_TRUE(at::equal(first.dx_TH, again.dx_TH));
    EXPECT_TRUE(at::equal(first.dweight_N, again.dweight_N));
    EXPECT_TRUE(at::equal(first.dw1_E2FH, again.dw1_E2FH));
    EXPECT_TRUE(at::equal(first.dw2_EHF, again.dw2_EHF));
  }
}

TEST_P(ExpertComputeOf, AddsToTheSinkAndLeavesExpertsWithoutRowsUntouched) {
  Shape shape;
  MoeInputs in = random_inputs(shape, std::vector<std::int32_t>(12, 1), GetParam().dtype);
  // All tokens to expert 2.
  const at::Tensor offsets = at::tensor({0, 0, 0, 12, 12}, at::kInt);
  in.routing.expert_offset_E1 = offsets;
  in.routing.row_token_N = in.routing.token_row_N = at::arange(12, at::kInt);
  ops::check_routing(in.routing);
  const at::Tensor dy_TH = random_normal({shape.num_tokens, shape.hidden}, 6, GetParam().dtype);
  const Results once = run(*compute(shape), in, dy_TH);
  for (const std::int64_t e : {0, 1, 3}) {
    EXPECT_TRUE(at::equal(once.dw1_E2FH[e], at::zeros_like(once.dw1_E2FH[e])));
    EXPECT_TRUE(at::equal(once.dw2_EHF[e], at::zeros_like(once.dw2_EHF[e])));
  }
  const GradSink sink{.w1_E2FH = at::ones_like(once.dw1_E2FH), .w2_EHF = {}};
  ops::Routing routing = in.routing;
  routing.row_weight_N = routing.row_weight_N.detach();
  const auto forward =
      compute(shape)->forward(in.x_TH.detach(), routing, in.w1_E2FH.detach(), in.w2_EHF.detach());
  (void)compute(shape)->backward(dy_TH, in.x_TH.detach(), forward.gate_up_N2F, routing,
                                 in.w1_E2FH.detach(), in.w2_EHF.detach(), sink);
  expect_near_in_norm(sink.w1_E2FH, once.dw1_E2FH + 1.0, 1e-6, "dW1 added to ones");
}

// As rows of other ranks arrive: results without their weights, and all gradients as with them.
TEST_P(ExpertComputeOf, TakesRowsThatAreTokensAsTheyLie) {
  const Shape shape{.num_tokens = 70, .hidden = 24, .size = 16, .num_experts = 4};
  MoeInputs in = random_inputs(shape, std::vector<std::int32_t>(70, 1), GetParam().dtype);
  in.routing.expert_offset_E1 = at::tensor({0, 37, 37, 40, 70}, at::kInt);
  in.routing.row_token_N = in.routing.token_row_N = at::arange(70, at::kInt);
  ops::check_routing(in.routing);
  const at::Tensor dy_TH = random_normal({shape.num_tokens, shape.hidden}, 6, GetParam().dtype);
  const Results expected = run(*compute(shape), in, dy_TH);
  MoeInputs unweighted = in;
  unweighted.routing.row_weight_N = at::ones_like(in.routing.row_weight_N);
  const at::Tensor y_TH = run(*compute(shape), unweighted, dy_TH).y_TH;

  in.routing.row_token_N = in.routing.token_row_N = in.routing.token_offset_T1 = at::Tensor();
  const Results actual = run(*compute(shape), in, dy_TH);
  EXPECT_TRUE(at::equal(actual.y_TH, y_TH));
  EXPECT_TRUE(at::equal(actual.dx_TH, expected.dx_TH));
  EXPECT_TRUE(at::equal(actual.dweight_N, expected.dweight_N));
  EXPECT_TRUE(at::equal(actual.dw1_E2FH, expected.dw1_E2FH));
  EXPECT_TRUE(at::equal(actual.dw2_EHF, expected.dw2_EHF));
}

TEST_P(ExpertComputeOf, AcceptsNoRowsAndNoTokens) {
  for (const std::int64_t num_tokens : {0, 5}) {
    const Shape shape{.num_tokens = num_tokens};
    const MoeInputs in =
        random_inputs(shape, std::vector<std::int32_t>(static_cast<std::size_t>(num_tokens), 0),
                      GetParam().dtype);
    const Results out = run(*compute(shape), in, in.x_TH.detach());
    EXPECT_TRUE(at::equal(out.y_TH, at::zeros_like(in.x_TH)));
    EXPECT_TRUE(at::equal(out.dx_TH, at::zeros_like(in.x_TH)));
    EXPECT_EQ(out.dweight_N.numel(), 0);
    EXPECT_EQ(out.dw1_E2FH.abs().sum().item<double>(), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, ExpertComputeOf,
                         ::testing::Values(Case{"loop", at::kDouble}, Case{"loop", at::kFloat},
                                           Case{"loop", at::kBFloat16},
                                           Case{"grouped_mm", at::kFloat},
                                           Case{"grouped_mm", at::kBFloat16}));

TEST(LoopExperts, AcceptsSizesThatNoVectorDivides) {
  const Shape shape{.num_tokens = 65, .hidden = 5, .size = 3, .num_experts = 3};
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const MoeInputs in = random_inputs(shape, variable_k(shape), dtype);
    const at::Tensor dy_TH = random_normal({65, 5}, 6, dtype);
    const Results actual = run(*make_expert_compute("loop", {.dtype = dtype}), in, dy_TH);
    const Results expected = by_definition(in, dy_TH);
    expect_near_in_norm(actual.dx_TH, expected.dx_TH, tolerance(dtype), "dx");
    expect_near_in_norm(actual.dw1_E2FH, expected.dw1_E2FH, tolerance(dtype), "dW1");
  }
}

TEST(MakeExpertCompute, SaysWhyAnImplementationCannotRun) {
  const auto hint_of = [](const std::string& name, const ExpertProblem& problem) -> std::string {
    try {
      (void)make_expert_compute(name, problem);
    } catch (const UsageError& error) {
      return std::string(error.what()) + " | " + error.hint();
    }
    return "";
  };
  EXPECT_EQ(hint_of("grouped_mm", {.dtype = at::kDouble, .hidden_size = 8, .expert_size = 8}),
            "model.moe.compute: grouped_mm cannot run: at::_grouped_mm takes fp32 and bf16, not "
            "Double | use model.moe.compute: auto");
  EXPECT_EQ(
      hint_of("grouped_mm", {.dtype = at::kBFloat16, .hidden_size = 12, .expert_size = 8}),
      "model.moe.compute: grouped_mm cannot run: at::_grouped_mm needs model.hidden_size (12) "
      "and model.moe.expert_size (8) to be multiples of 8 | use model.moe.compute: auto");
  EXPECT_EQ(hint_of("magic", {}),
            "model.moe.compute: unknown 'magic' | known: auto, loop, grouped_mm, cutlass");
}

// As a plan asks on a machine without GPUs.
TEST(MakeExpertCompute, KnowsTheLimitsOfTheGroupedProductOnAGpu) {
  const auto problem = [](at::ScalarType dtype, std::int64_t num_experts) {
    return ExpertProblem{.dtype = dtype,
                         .device = at::kCUDA,
                         .hidden_size = 8,
                         .expert_size = 8,
                         .num_experts = num_experts};
  };
  const auto grouped = make_grouped_mm_experts();
  EXPECT_TRUE(grouped->supports(problem(at::kBFloat16, 1023)).ok);
  EXPECT_EQ(grouped->supports(problem(at::kBFloat16, 1023)).slow_because, "");
  const Support too_many = grouped->supports(problem(at::kBFloat16, 1024));
  EXPECT_FALSE(too_many.ok);
  EXPECT_EQ(too_many.why_not,
            "at::_grouped_mm takes at most 1023 experts on a GPU, model.moe.num_experts is 1024");
  const Support fp32 = grouped->supports(problem(at::kFloat, 1024));
  EXPECT_TRUE(fp32.ok);
  EXPECT_THAT(fp32.slow_because, HasSubstr("the host wait before each product"));
  EXPECT_EQ(make_expert_compute("auto", problem(at::kBFloat16, 16))->name(), "grouped_mm");
  EXPECT_EQ(make_expert_compute("auto", problem(at::kBFloat16, 1024))->name(), "loop");
  EXPECT_EQ(make_expert_compute("auto", problem(at::kFloat, 16))->name(), "loop");
}

TEST(MakeExpertCompute, TakesTheLoopOnACpu) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    EXPECT_EQ(
        make_expert_compute("auto", {.dtype = dtype, .hidden_size = 8, .expert_size = 8})->name(),
        "loop");
  }
}

}  // namespace
}  // namespace switchyard::moe::testing
