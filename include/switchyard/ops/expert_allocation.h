// Turns token importance into a number of experts per token (attention-importance routing).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace switchyard::ops {

struct AllocationOptions {
  double k_mean = 2.0;
  std::int64_t k_min = 1;
  std::int64_t k_max = 1;
  bool budget = false;  // false: proportional; true: per sequence exactly round(k_mean * n) rows
};

// importance_T [T] accumulation type (1 = average) -> [T] int32; invalid tokens get 0.
// Proportional: K_t = clamp(round_half_to_even(k_mean * a_t), k_min, k_max). Budget: design of the
// largest-remainder correction in docs/architecture.md, per sequence of sequence_offset_B1.
[[nodiscard]] at::Tensor expert_allocation(const at::Tensor& importance_T,
                                           const at::Tensor& valid_T,
                                           const at::Tensor& sequence_offset_B1,
                                           const AllocationOptions& options);

}  // namespace switchyard::ops
