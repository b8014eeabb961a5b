// The seam behind which experts are computed: wide enough for a kernel that gathers in its
// producer, applies SwiGLU in its epilogue and accumulates into the gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/ops/routing.h"

namespace switchyard::moe {

// Accumulation-type buffers that weight gradients are added to; undefined members are skipped.
struct GradSink {
  at::Tensor w1_E2FH = {};
  at::Tensor w2_EHF = {};
};

// What an implementation must know to say whether it can run.
struct ExpertProblem {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  std::int64_t hidden_size = 0;  // H
  std::int64_t expert_size = 0;  // F
  std::int64_t num_experts = 0;  // whose rows come to this rank
};

struct Support {
  bool ok = true;
  std::string why_not = {};
  std::string slow_because = {};  // empty: nothing is known that makes it slow there
};

class ExpertCompute {
 public:
  struct Forward {
    at::Tensor gate_up_N2F;  // saved for backward
    at::Tensor y_TH;
  };
  struct Backward {
    at::Tensor dx_TH;
    at::Tensor dweight_N;  // accumulation type, gradient of row_weight_N
  };

  virtual ~ExpertCompute() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  [[nodiscard]] virtual Support supports(const ExpertProblem& problem) const = 0;

  // Experts are SwiGLU without bias: [G U] = x W1^T, A = silu(G) * U, Y = A W2^T; y_t = sum over
  // the token's rows of w_r Y_r. x_TH [T, H], w1_E2FH [E, 2F, H], w2_EHF [E, H, F], one dtype, all
  // contiguous. Without autograd: moe_ffn is the differentiable function.
  //
  // Where the routing's rows are its tokens (Routing::rows_are_tokens), a row's result is given as
  // it is, y_r = Y_r: whoever adds rows up multiplies by their weights. Backward does not differ,
  // dy_r is the gradient of w_r Y_r.
  [[nodiscard]] virtual Forward forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                        const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF) = 0;
  // Gradients of the loss from dy_TH [T, H]. With D_r = W2^T dy_t: dweight_r = <D_r, A_r>, and the
  // row weight enters everything before it: sink.w2 += dy_t (w_r A_r)^T, sink.w1 += d[GU]_r x_t^T,
  // dx_t = sum_r W1^T d[GU]_r. Experts without rows add nothing.
  [[nodiscard]] virtual Backward backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                          const at::Tensor& gate_up_N2F,
                                          const ops::Routing& routing, const at::Tensor& w1_E2FH,
                                          const at::Tensor& w2_EHF, const GradSink& sink) = 0;
};

// `auto` takes the first that supports the problem and is not slow there; an explicit name that
// does not support it throws UsageError with the reason. Known names: expert_compute_names().
[[nodiscard]] std::shared_ptr<ExpertCompute> make_expert_compute(const std::string& name,
                                                                 const ExpertProblem& problem);
[[nodiscard]] std::vector<std::string> expert_compute_names();

}  // namespace switchyard::moe
