#include "switchyard/moe/moe_ffn.h"

#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/ops/precision.h"

namespace switchyard::moe {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// What the autograd graph keeps beside tensors.
struct FfnState : torch::CustomClassHolder {
  std::int64_t num_tokens = 0;
  std::int64_t num_experts = 0;
  std::shared_ptr<ExpertCompute> compute;
  GradSink sink;
};

class MoeFfnFunction : public torch::autograd::Function<MoeFfnFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x_any, const Variable& row_weight_N,
                          const Variable& w1_E2FH, const Variable& w2_EHF,
                          const ops::Routing& routing,
                          const std::shared_ptr<ExpertCompute>& compute, const GradSink& sink) {
    const at::Tensor x_TH = x_any.contiguous();
    ExpertCompute::Forward result = compute->forward(x_TH, routing, w1_E2FH, w2_EHF);
    ctx->save_for_backward({x_TH, result.gate_up_N2F, row_weight_N, w1_E2FH, w2_EHF,
                            routing.expert_offset_E1, routing.row_token_N, routing.token_offset_T1,
                            routing.token_row_N});
    auto state = c10::make_intrusive<FfnState>();
    state->num_tokens = routing.num_tokens;
    state->num_experts = routing.num_experts;
    state->compute = compute;
    state->sink = sink;
    ctx->saved_data["state"] = at::IValue::make_capsule(std::move(state));
    return result.y_TH;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["state"].toCapsule();
    auto* state = static_cast<FfnState*>(capsule.get());
    const at::Tensor& w1_E2FH = saved[3];
    const at::Tensor& w2_EHF = saved[4];
    const ops::Routing routing{.num_tokens = state->num_tokens,
                               .num_experts = state->num_experts,
                               .expert_offset_E1 = saved[5],
                               .row_token_N = saved[6],
                               .token_offset_T1 = saved[7],
                               .token_row_N = saved[8],
                               .row_weight_N = saved[2]};
    GradSink sink = state->sink;
    at::Tensor dw1_E2FH;
    at::Tensor dw2_EHF;
    // A sink of our own where the caller gave none and wants the gradient.
    const at::ScalarType accumulation = saved[2].scalar_type();
    if (!sink.w1_E2FH.defined() && ctx->needs_input_grad(2)) {
      sink.w1_E2FH = at::zeros_like(w1_E2FH, accumulation);
      dw1_E2FH = sink.w1_E2FH;
    }
    if (!sink.w2_EHF.defined() && ctx->needs_input_grad(3)) {
      sink.w2_EHF = at::zeros_like(w2_EHF, accumulation);
      dw2_EHF = sink.w2_EHF;
    }
    ExpertCompute::Backward result = state->compute->backward(
        grads[0].contiguous(), saved[0], saved[1], routing, w1_E2FH, w2_EHF, sink);
    // A gradient has the dtype of its tensor.
    if (dw1_E2FH.defined()) dw1_E2FH = dw1_E2FH.to(w1_E2FH.scalar_type());
    if (dw2_EHF.defined()) dw2_EHF = dw2_EHF.to(w2_EHF.scalar_type());
    return {result.dx_TH, result.dweight_N, dw1_E2FH, dw2_EHF, {}, {}, {}};
  }
};

}  // namespace

at::Tensor moe_ffn(const at::Tensor& x_TH, const ops::Routing& routing, const at::Tensor& w1_E2FH,
                   const at::Tensor& w2_EHF, const std::shared_ptr<ExpertCompute>& compute,
                   const GradSink& sink) {
  SWITCHYARD_CHECK(
      x_TH.dim() == 2 && w1_E2FH.dim() == 3 && w2_EHF.dim() == 3 && w1_E2FH.is_contiguous() &&
          w2_EHF.is_contiguous() && x_TH.size(0) == routing.num_tokens &&
          w1_E2FH.size(0) == routing.num_experts && w2_EHF.size(0) == routing.num_experts &&
          w1_E2FH.size(1) == 2 * w2_EHF.size(2) && w1_E2FH.size(2) == x_TH.size(1) &&
          w2_EHF.size(1) == x_TH.size(1),
      "moe_ffn of x {}, W1 {}, W2 {} and a routing of {} tokens to {} experts",
      c10::str(x_TH.sizes()), c10::str(w1_E2FH.sizes()), c10::str(w2_EHF.sizes()),
      routing.num_tokens, routing.num_experts);
  SWITCHYARD_CHECK(
      !routing.rows_are_tokens() ||
          (routing.expert_offset_E1.size(0) == routing.num_experts + 1 &&
           !routing.token_offset_T1.defined() && !routing.token_row_N.defined() &&
           routing.row_weight_N.size(0) == routing.num_tokens),
      "moe_ffn of a routing of {} tokens without row_token_N, which is not one of rows "
      "that are tokens",
      routing.num_tokens);
  const at::ScalarType dtype = x_TH.scalar_type();
  const at::ScalarType accumulation = ops::accumulation_type(dtype);
  const auto fits_sink = [&](const at::Tensor& buffer, const at::Tensor& weight) {
    return !buffer.defined() ||
           (buffer.sizes() == weight.sizes() && buffer.scalar_type() == accumulation);
  };
  SWITCHYARD_CHECK(
      w1_E2FH.scalar_type() == dtype && w2_EHF.scalar_type() == dtype &&
          routing.row_weight_N.scalar_type() == accumulation && fits_sink(sink.w1_E2FH, w1_E2FH) &&
          fits_sink(sink.w2_EHF, w2_EHF),
      "moe_ffn of x in {}: weights must have its dtype, row weights and gradient buffers "
      "the accumulation type",
      at::toString(dtype));
  return MoeFfnFunction::apply(x_TH, routing.row_weight_N, w1_E2FH, w2_EHF, routing, compute, sink);
}

}  // namespace switchyard::moe
