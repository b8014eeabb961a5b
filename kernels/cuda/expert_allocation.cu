// Proportional and ceiling: one thread per token. Budget: one block per sequence. Giving one more
// expert at a time, always where the remainder is largest, takes the largest of all (token, step)
// remainders, so the block finds the remainder at which the budget is met by bisection over the
// bits of a double, and then shares what is left among equal remainders by position.
#include "switchyard/kernels/expert_allocation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda/device.cuh"
#include "cuda/route_order.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__device__ bool is_valid(const ExpertAllocationParams<T>& params, std::int64_t t) {
  return params.valid_T == nullptr || params.valid_T[t];
}

template <typename T>
__device__ double wanted(const ExpertAllocationParams<T>& params, std::int64_t t) {
  // Rounded here: a product fused into one difference and not into another would have two values.
  const double q = std::fma(params.k_mean, static_cast<double>(params.importance_T[t]), 0.0);
  return std::isnan(q) ? static_cast<double>(params.k_min) : q;
}

template <typename T>
__device__ std::int32_t clamp_count(const ExpertAllocationParams<T>& params, double count) {
  const auto min = static_cast<double>(params.k_min);
  const auto max = static_cast<double>(params.k_max);
  return static_cast<std::int32_t>(count < min ? min : max < count ? max : count);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) by_itself(ExpertAllocationParams<T> params) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (t >= params.num_tokens) return;
  const double q = wanted(params, t);
  // nearbyint: half to even.
  const double rounded = params.rule == AllocationRule::ceiling ? std::ceil(q) : std::nearbyint(q);
  params.k_T[t] = is_valid(params, t) ? clamp_count(params, rounded) : 0;
}

// The steps by which a token's count may move in one direction, the most urgent first.
struct Steps {
  double wanted;
  std::int32_t count;
  std::int32_t direction;  // +1 or -1
  std::int64_t room;       // how many there are

  // Urgency of step j as an integer with the same order.
  [[nodiscard]] __device__ std::uint64_t key(std::int64_t j) const {
    const auto moved = static_cast<double>(count + direction * j);
    return order_key(direction > 0 ? wanted - moved : moved - wanted);
  }
  // Urgency never rises with j.
  [[nodiscard]] __device__ std::int64_t num_at_least(std::uint64_t threshold) const {
    std::int64_t j = 0;
    while (j < room && key(j) >= threshold) ++j;
    return j;
  }
};

template <typename T>
__device__ Steps steps_of(const ExpertAllocationParams<T>& params, std::int64_t t,
                          std::int32_t direction) {
  if (!is_valid(params, t)) return {0.0, 0, direction, 0};
  const std::int32_t count = params.k_T[t];
  const std::int64_t room = direction > 0 ? params.k_max - count : count - params.k_min;
  return {wanted(params, t), count, direction, room};
}

template <typename T>
__global__ void __launch_bounds__(kThreads) within_budget(ExpertAllocationParams<T> params) {
  __shared__ std::int64_t per_warp[2][kThreads / kWarpSize];
  const std::int64_t begin = params.sequence_offset_B1[blockIdx.x];
  const std::int64_t end = params.sequence_offset_B1[blockIdx.x + 1];
  std::int64_t num_valid = 0;
  std::int64_t sum = 0;
  for (std::int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
    const bool valid = is_valid(params, t);
    params.k_T[t] = valid ? clamp_count(params, std::floor(wanted(params, t))) : 0;
    sum += params.k_T[t];
    num_valid += valid ? 1 : 0;
  }
  num_valid = block_sum<kThreads>(num_valid, per_warp[1]);
  sum = block_sum<kThreads>(sum, per_warp[0]);
  const auto asked =
      static_cast<std::int64_t>(std::nearbyint(params.k_mean * static_cast<double>(num_valid)));
  const std::int64_t budget =
      std::min(std::max(asked, num_valid * params.k_min), num_valid * params.k_max);
  if (budget == sum) return;
  const std::int32_t direction = sum < budget ? 1 : -1;
  const std::int64_t missing = sum < budget ? budget - sum : sum - budget;

  // The largest threshold that at least `missing` steps reach.
  std::uint64_t threshold = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const std::uint64_t candidate = threshold | std::uint64_t{1} << bit;
    std::int64_t reached = 0;
    for (std::int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
      reached += steps_of(params, t, direction).num_at_least(candidate);
    }
    // Two arrays in turn, beginning with the one not used last: between two uses of one array lies
    // the barrier of the other.
    reached = block_sum<kThreads>(reached, per_warp[bit % 2]);
    if (reached >= missing) threshold = candidate;
  }
  __syncthreads();
  std::int64_t above = 0;
  if (threshold < ~std::uint64_t{0}) {
    for (std::int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
      above += steps_of(params, t, direction).num_at_least(threshold + 1);
    }
  }
  above = block_sum<kThreads>(above, per_warp[0]);

  // Equal steps go to the lower positions when adding, to the higher ones when taking away.
  std::int64_t left = missing - above;
  for (std::int64_t first = 0; first < end - begin; first += kThreads) {
    const std::int64_t i = first + threadIdx.x;
    const bool is_token = i < end - begin;
    const std::int64_t t = direction > 0 ? begin + i : end - 1 - i;
    const Steps steps = is_token ? steps_of(params, t, direction) : Steps{0.0, 0, direction, 0};
    const std::int64_t num_above = steps.num_at_least(threshold + 1);
    const std::int64_t num_equal = steps.num_at_least(threshold) - num_above;
    std::int64_t total = 0;
    __syncthreads();  // the round before has read per_warp
    const std::int64_t before = exclusive_scan<kThreads>(num_equal, per_warp[1], total);
    const std::int64_t share = std::min(std::max(left - before, std::int64_t{0}), num_equal);
    if (is_token) {
      params.k_T[t] = static_cast<std::int32_t>(steps.count + direction * (num_above + share));
    }
    left -= total;
  }
}

template <typename T>
void run(const ExpertAllocationParams<T>& params, Stream stream) {
  if (params.rule == AllocationRule::budget) {
    launch(within_budget<T>, num_blocks(params.num_sequences, 1), kThreads, 0, stream, params);
  } else {
    launch(by_itself<T>, num_blocks(params.num_tokens, kThreads), kThreads, 0, stream, params);
  }
}

}  // namespace

void expert_allocation(const ExpertAllocationParams<float>& params, Stream stream) {
  run(params, stream);
}
void expert_allocation(const ExpertAllocationParams<double>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
