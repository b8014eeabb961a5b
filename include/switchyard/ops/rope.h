// Rotary position embedding (Su et al., RoFormer, 2021), half-split layout as in Llama.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace switchyard::ops {

// x_TAD [T, A, D] with D even (may be a strided view), position_T [T] int64, all in
// [0, num_positions) -> rotated copy. Angles are fp32. Differentiable. Throws InternalError for
// other shapes or devices; positions are checked on a CPU, where looking at them costs no wait.
[[nodiscard]] at::Tensor rope(const at::Tensor& x_TAD, const at::Tensor& position_T,
                              std::int64_t num_positions, double theta);

}  // namespace switchyard::ops
