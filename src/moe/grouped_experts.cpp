#include "moe/grouped_experts.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "moe/expert_compute.h"
#include "switchyard/ops/row_gather.h"
#include "switchyard/ops/swiglu.h"

namespace switchyard::moe {

ExpertCompute::Forward GroupedExperts::forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                               const at::Tensor& w1_E2FH,
                                               const at::Tensor& w2_EHF) {
  if (routing.num_rows() == 0) {
    return {.gate_up_N2F = at::zeros({0, w1_E2FH.size(1)}, x_TH.options()),
            .y_TH = at::zeros_like(x_TH)};
  }
  Forward result;
  result.gate_up_N2F =
      product(ops::row_gather(x_TH, routing), w1_E2FH, /*transposed=*/true, routing);
  const at::Tensor y_NH =
      product(ops::swiglu_forward(result.gate_up_N2F), w2_EHF, /*transposed=*/true, routing);
  result.y_TH = add_up_results(y_NH, routing);
  return result;
}

ExpertCompute::Backward GroupedExperts::backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                                 const at::Tensor& gate_up_N2F,
                                                 const ops::Routing& routing,
                                                 const at::Tensor& w1_E2FH,
                                                 const at::Tensor& w2_EHF, const GradSink& sink) {
  if (routing.num_rows() == 0) {
    return {.dx_TH = at::zeros_like(x_TH), .dweight_N = at::zeros_like(routing.row_weight_N)};
  }
  const at::Tensor dy_NH = ops::row_gather(dy_TH, routing);
  const ops::SwigluBackward swiglu = ops::swiglu_backward(
      gate_up_N2F, product(dy_NH, w2_EHF, /*transposed=*/false, routing), routing.row_weight_N);
  if (sink.w2_EHF.defined()) add_outer(sink.w2_EHF, dy_NH, swiglu.activation_NF, routing);
  if (sink.w1_E2FH.defined()) {
    add_outer(sink.w1_E2FH, swiglu.dgate_up_N2F, ops::row_gather(x_TH, routing), routing);
  }
  const at::Tensor dx_NH = product(swiglu.dgate_up_N2F, w1_E2FH, /*transposed=*/false, routing);
  return {.dx_TH = ops::row_gather_sum(dx_NH, {}, routing), .dweight_N = swiglu.dweight_N};
}

}  // namespace switchyard::moe
