// Turns token importance into a number of experts per token.
#pragma once

#include <cstdint>

#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// With q_t = k_mean * importance_t in double (NaN counts as k_min), for valid tokens:
//   proportional: K_t = clamp(round_half_to_even(q_t), k_min, k_max)
//   budget, per sequence of n valid tokens: K_t = clamp(floor(q_t), k_min, k_max), then, until the
//   sum is clamp(round_half_to_even(k_mean n), n k_min, n k_max): one more where q_t - K_t is
//   largest and K_t < k_max (ties: lower position), or one less where it is smallest and
//   K_t > k_min (ties: higher position).
//   ceiling: K_t = clamp(ceil(q_t), k_min, k_max)
// Invalid tokens get 0.
enum class AllocationRule { proportional, budget, ceiling };

template <typename T>
struct ExpertAllocationParams {
  std::int64_t num_tokens = 0;
  std::int64_t num_sequences = 0;
  const T* importance_T = nullptr;
  const bool* valid_T = nullptr;  // null: every token is valid
  const std::int32_t* sequence_offset_B1 = nullptr;
  double k_mean = 0.0;
  std::int64_t k_min = 0;
  std::int64_t k_max = 0;
  AllocationRule rule = AllocationRule::proportional;
  std::int32_t* k_T = nullptr;
};

namespace cpu {
void expert_allocation(const ExpertAllocationParams<float>& params);
void expert_allocation(const ExpertAllocationParams<double>& params);
}  // namespace cpu

namespace cuda {
void expert_allocation(const ExpertAllocationParams<float>& params, Stream stream);
void expert_allocation(const ExpertAllocationParams<double>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
