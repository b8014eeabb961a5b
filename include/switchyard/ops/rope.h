// Rotary position embedding (Su et al., RoFormer, 2021), half-split layout as in Llama.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::ops {

// x_TAD [T, A, D] with D even (may be a strided view), position_T [T] int64 -> rotated copy.
// Angles are fp32. Differentiable.
[[nodiscard]] at::Tensor rope(const at::Tensor& x_TAD, const at::Tensor& position_T, double theta);

}  // namespace switchyard::ops
