// Experts whose products are computed for all of them at once: the rows are gathered first, so each
// intermediate exists for all rows.
#pragma once

#include "switchyard/moe/expert_compute.h"

namespace switchyard::moe {

class GroupedExperts : public ExpertCompute {
 public:
  [[nodiscard]] Forward forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF) final;
  [[nodiscard]] Backward backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                  const at::Tensor& gate_up_N2F, const ops::Routing& routing,
                                  const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF,
                                  const GradSink& sink) final;

 private:
  // Rows of expert e times m[e] [I, J], or m[e]^T of m [E, J, I] where `transposed`. N is not 0.
  [[nodiscard]] virtual at::Tensor product(const at::Tensor& rows_NI, const at::Tensor& m,
                                           bool transposed, const ops::Routing& routing) = 0;
  // sum[e] += a[rows of e]^T b[rows of e]. N is not 0.
  virtual void add_outer(const at::Tensor& sum_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                         const ops::Routing& routing) = 0;
};

}  // namespace switchyard::moe
