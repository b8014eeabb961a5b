// Turns token importance into a number of experts per token (attention-importance routing).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace switchyard::ops {

enum class AllocationRule {
  proportional,  // each token by itself
  budget,        // per sequence of n tokens round(k_mean * n) rows
  ceiling,       // each token by itself, rounded up
};

struct AllocationOptions {
  double k_mean = 2.0;
  std::int64_t k_min = 1;
  std::int64_t k_max = 1;
  AllocationRule rule = AllocationRule::proportional;
};

// importance_T [T] fp32 or fp64 (1 = average), valid_T [T] bool or undefined (all valid),
// sequence_offset_B1 [B+1] int32 -> [T] int32; invalid tokens get 0.
// Proportional: K_t = clamp(round_half_to_even(k_mean * a_t), k_min, k_max). Budget: the
// largest-remainder correction written out in kernels/expert_allocation.h, per sequence. Ceiling:
// K_t = clamp(ceil(k_mean * a_t), k_min, k_max), where k_mean may be any number of 0 or more.
// Throws InternalError for arguments of another form or without 0 <= k_min <= k_mean <= k_max.
[[nodiscard]] at::Tensor expert_allocation(const at::Tensor& importance_T,
                                           const at::Tensor& valid_T,
                                           const at::Tensor& sequence_offset_B1,
                                           const AllocationOptions& options);

}  // namespace switchyard::ops
