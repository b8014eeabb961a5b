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
  at::Tensor w1_E2FH;
  at::Tensor w2_EHF;
};

struct Support {
  bool ok = true;
  std::string why_not;
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
  [[nodiscard]] virtual Support supports(at::ScalarType dtype, at::Device device) const = 0;

  // Experts are SwiGLU without bias: [G U] = x W1^T, A = silu(G) * U, Y = A W2^T; y_t = sum over
  // the token's rows of w_r Y_r. x_TH [T, H], w1_E2FH [E, 2F, H], w2_EHF [E, H, F], one dtype.
  [[nodiscard]] virtual Forward forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                        const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF) = 0;
  [[nodiscard]] virtual Backward backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                          const at::Tensor& gate_up_N2F,
                                          const ops::Routing& routing, const at::Tensor& w1_E2FH,
                                          const at::Tensor& w2_EHF, const GradSink& sink) = 0;
};

// `auto` takes the first that supports (dtype, device); an explicit name that does not throws
// UsageError with the reason. Known names: expert_compute_names().
[[nodiscard]] std::shared_ptr<ExpertCompute> make_expert_compute(const std::string& name,
                                                                 at::ScalarType dtype,
                                                                 at::Device device);
[[nodiscard]] std::vector<std::string> expert_compute_names();

}  // namespace switchyard::moe
