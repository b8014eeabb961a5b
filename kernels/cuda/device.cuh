// What device code shares: storage types and their arithmetic, 16-byte packs of them, sums and
// maxima over a warp or a block in a fixed order.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"
#include "switchyard/kernels/bfloat16.h"

namespace switchyard::kernels::cuda {

// The GPU's own conversions; the same values as bfloat16.h, apart from the bits of a NaN.
__device__ __forceinline__ float widen(BFloat16 value) {
  return to_float(value);
}
__device__ __forceinline__ float widen(float value) {
  return value;
}
__device__ __forceinline__ double widen(double value) {
  return value;
}
template <typename Storage>
__device__ __forceinline__ Storage narrow(accumulation_t<Storage> value) {
  if constexpr (std::is_same_v<Storage, BFloat16>) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
  } else {
    return value;
  }
}

// Neighbouring elements that one instruction loads or stores.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};
// Elements of a 16-byte pack.
template <typename Storage>
inline constexpr int kPackSize = 16 / static_cast<int>(sizeof(Storage));

// A pack in the accumulation type, in registers.
template <typename Storage, int kCount>
struct Values {
  accumulation_t<Storage> at[kCount];
};

template <int kCount, typename Storage>
__device__ __forceinline__ Values<Storage, kCount> load_values(const Storage* from) {
  const auto pack = *reinterpret_cast<const Pack<Storage, kCount>*>(from);
  Values<Storage, kCount> values;
#pragma unroll
  for (int i = 0; i < kCount; ++i) values.at[i] = widen(pack.at[i]);
  return values;
}
template <int kCount, typename Storage>
__device__ __forceinline__ void store_values(const Values<Storage, kCount>& values, Storage* to) {
  Pack<Storage, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.at[i] = narrow<Storage>(values.at[i]);
  *reinterpret_cast<Pack<Storage, kCount>*>(to) = pack;
}

// Can rows of `row_size` elements that begin at these pointers be read in 16-byte packs?
template <typename Storage, typename... Pointers>
[[nodiscard]] bool fits_packs(std::int64_t row_size, const Pointers*... rows) {
  return row_size % kPackSize<Storage> == 0 &&
         ((reinterpret_cast<std::uintptr_t>(rows) % 16 == 0) && ...);
}

// The same for rows of heads (HeadRows): their strides must be whole packs as well.
template <typename Storage, typename... Rows>
[[nodiscard]] bool heads_fit_packs(std::int64_t row_size, const Rows&... rows) {
  const auto is_packed = [](std::int64_t stride) { return stride % kPackSize<Storage> == 0; };
  return fits_packs<Storage>(row_size, rows.data...) &&
         ((is_packed(rows.token_stride) && is_packed(rows.head_stride)) && ...);
}

// Kernels over rows: one warp per row, the lanes along it.
inline constexpr int kRowsPerBlock = 8;
inline const dim3 kRowBlock(kWarpSize, kRowsPerBlock);

__device__ __forceinline__ std::int64_t row_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.y;
}

// Every lane gets the sum, added in the same order always: of the warp, or of the kLanes (a power
// of two) that it is one of.
template <int kLanes = kWarpSize, typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, step);
  }
  return value;
}
// NaN counts as nothing, as in a loop that keeps what compares as larger.
template <int kLanes = kWarpSize, typename T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(kFullWarp, value, step);
    value = other > value ? other : value;
  }
  return value;
}

// Every thread of a one-dimensional block gets the sum. `per_warp` is shared memory for one value
// per warp; a barrier must lie between two uses of it.
template <int kThreads, typename T>
__device__ __forceinline__ T block_sum(T value, T* per_warp) {
  value = warp_sum(value);
  if (threadIdx.x % kWarpSize == 0) per_warp[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  T sum = per_warp[0];
#pragma unroll
  for (int i = 1; i < kThreads / kWarpSize; ++i) sum += per_warp[i];
  return sum;
}

// The last i with offset[i] <= value, for ascending offsets that begin at or below it.
__device__ __forceinline__ std::int32_t segment_of(const std::int32_t* offset,
                                                   std::int64_t num_segments, std::int64_t value) {
  std::int64_t low = 0;
  std::int64_t high = num_segments - 1;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (offset[middle] <= value) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return static_cast<std::int32_t>(low);
}

// Sum of the values of the threads before this one, in a block of one dimension; `total` becomes
// that of all. `per_warp` as for block_sum.
template <int kThreads, typename Int>
__device__ __forceinline__ Int exclusive_scan(Int value, Int* per_warp, Int& total) {
  const unsigned lane = threadIdx.x % kWarpSize;
  const unsigned warp = threadIdx.x / kWarpSize;
  Int inclusive = value;
#pragma unroll
  for (unsigned step = 1; step < kWarpSize; step *= 2) {
    const Int before = __shfl_up_sync(kFullWarp, inclusive, step);
    if (lane >= step) inclusive += before;
  }
  if (lane == kWarpSize - 1) per_warp[warp] = inclusive;
  __syncthreads();
  Int base = 0;
  total = 0;
#pragma unroll
  for (unsigned i = 0; i < kThreads / kWarpSize; ++i) {
    if (i == warp) base = total;
    total += per_warp[i];
  }
  return base + inclusive - value;
}

}  // namespace switchyard::kernels::cuda
