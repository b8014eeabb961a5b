// Loads and stores of what is kept in the accumulation type beside rows in another: weights,
// tables, gradients. Needs the alignment that fits_packs() checks.
#pragma once

#include "cuda/device.cuh"

namespace switchyard::kernels::cuda {

template <typename Storage, int kCount>
__device__ __forceinline__ Values<Storage, kCount> load_wide(const accumulation_t<Storage>* from) {
  using T = accumulation_t<Storage>;
  constexpr int kPart = kCount < kPackSize<T> ? kCount : kPackSize<T>;
  Values<Storage, kCount> values;
#pragma unroll
  for (int begin = 0; begin < kCount; begin += kPart) {
    const auto pack = *reinterpret_cast<const Pack<T, kPart>*>(from + begin);
#pragma unroll
    for (int i = 0; i < kPart; ++i) values.at[begin + i] = pack.at[i];
  }
  return values;
}

template <typename Storage, int kCount>
__device__ __forceinline__ void store_wide(const Values<Storage, kCount>& values,
                                           accumulation_t<Storage>* to) {
  using T = accumulation_t<Storage>;
  constexpr int kPart = kCount < kPackSize<T> ? kCount : kPackSize<T>;
#pragma unroll
  for (int begin = 0; begin < kCount; begin += kPart) {
    Pack<T, kPart> pack;
#pragma unroll
    for (int i = 0; i < kPart; ++i) pack.at[i] = values.at[begin + i];
    *reinterpret_cast<Pack<T, kPart>*>(to + begin) = pack;
  }
}

}  // namespace switchyard::kernels::cuda
