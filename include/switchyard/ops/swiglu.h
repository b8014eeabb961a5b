// SwiGLU on rows: A = silu(G) * U with [G U] stored side by side. No autograd in the row form;
// the differentiable dense form is `swiglu`. fp32, bf16 (fp32 inside) and fp64.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::ops {

// gate_up_N2F [N, 2F] -> [N, F], same dtype.
[[nodiscard]] at::Tensor swiglu_forward(const at::Tensor& gate_up_N2F);

struct SwigluBackward {
  at::Tensor dgate_up_N2F;   // [P, 2F]
  at::Tensor activation_NF;  // [P, F] w_r A_r, what the down projection's weight gradient needs
  at::Tensor dweight_N;      // [N] accumulation type: <D_r, A_r>
};
// d_NF [P, F], P >= N: D_r = W2^T dy_t, *not yet* multiplied by the row weight; rows from N on are
// padding, and zero in the results. row_weight_N [N] accumulation type, or undefined (1).
// One pass emits the three results.
[[nodiscard]] SwigluBackward swiglu_backward(const at::Tensor& gate_up_N2F, const at::Tensor& d_NF,
                                             const at::Tensor& row_weight_N);

// Differentiable: [..., 2F] -> [..., F].
[[nodiscard]] at::Tensor swiglu(const at::Tensor& gate_up);

}  // namespace switchyard::ops
