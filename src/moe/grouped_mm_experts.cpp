// All experts in one grouped matrix product each, at::_grouped_mm.
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/zeros.h>

#include "moe/expert_compute.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/row_gather.h"
#include "switchyard/ops/swiglu.h"

namespace switchyard::moe {
namespace {

class GroupedMmExperts final : public ExpertCompute {
 public:
  [[nodiscard]] std::string name() const override { return "grouped_mm"; }

  // The operator wants every stride to be a multiple of 16 bytes.
  [[nodiscard]] Support supports(const ExpertProblem& problem) const override {
    if (problem.dtype != at::kFloat && problem.dtype != at::kBFloat16) {
      return {.ok = false,
              .why_not = fmt::format("at::_grouped_mm takes fp32 and bf16, not {}",
                                     at::toString(problem.dtype))};
    }
    const std::int64_t multiple = problem.dtype == at::kFloat ? 4 : 8;
    if (problem.hidden_size % multiple != 0 || problem.expert_size % multiple != 0) {
      return {.ok = false,
              .why_not = fmt::format("at::_grouped_mm needs model.hidden_size ({}) and "
                                     "model.moe.expert_size ({}) to be multiples of {}",
                                     problem.hidden_size, problem.expert_size, multiple)};
    }
    return {};
  }

  [[nodiscard]] Forward forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF) override {
    const at::Tensor x_NH = ops::row_gather(x_TH, routing);
    Forward result;
    result.gate_up_N2F = product(x_NH, w1_E2FH.transpose(1, 2), routing);
    const at::Tensor y_NH =
        product(ops::swiglu_forward(result.gate_up_N2F), w2_EHF.transpose(1, 2), routing);
    result.y_TH = ops::row_gather_sum(y_NH, routing.row_weight_N, routing);
    return result;
  }

  [[nodiscard]] Backward backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                  const at::Tensor& gate_up_N2F, const ops::Routing& routing,
                                  const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF,
                                  const GradSink& sink) override {
    const at::Tensor dy_NH = ops::row_gather(dy_TH, routing);
    const ops::SwigluBackward swiglu =
        ops::swiglu_backward(gate_up_N2F, product(dy_NH, w2_EHF, routing), routing.row_weight_N);
    add_outer(sink.w2_EHF, dy_NH, swiglu.activation_NF, routing);
    add_outer(sink.w1_E2FH, swiglu.dgate_up_N2F, ops::row_gather(x_TH, routing), routing);
    const at::Tensor dx_NH = product(swiglu.dgate_up_N2F, w1_E2FH, routing);
    return {.dx_TH = ops::row_gather_sum(dx_NH, {}, routing), .dweight_N = swiglu.dweight_N};
  }

 private:
  // Rows of expert e times m[e]: [N, I] x [E, I, J] -> [N, J].
  static at::Tensor product(const at::Tensor& rows_NI, const at::Tensor& m_EIJ,
                            const ops::Routing& routing) {
    // The CPU operator takes no rows as well; of the GPU's nobody has asked.
    if (rows_NI.size(0) == 0) return at::zeros({0, m_EIJ.size(2)}, rows_NI.options());
    return at::_grouped_mm(rows_NI, m_EIJ, ends(routing));
  }

  // sink[e] += a[rows of e]^T b[rows of e].
  static void add_outer(const at::Tensor& sink_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                        const ops::Routing& routing) {
    if (!sink_EIJ.defined() || a_NI.size(0) == 0) return;
    at::Tensor sink = sink_EIJ;
    sink.add_(at::_grouped_mm(a_NI.t(), b_NJ, ends(routing)));
  }

  static at::Tensor ends(const ops::Routing& routing) {
    return routing.expert_offset_E1.narrow(0, 1, routing.num_experts);
  }
};

}  // namespace

std::shared_ptr<ExpertCompute> make_grouped_mm_experts() {
  return std::make_shared<GroupedMmExperts>();
}

}  // namespace switchyard::moe
