// The order of a token's experts on the device, the same as in cpu/route_order.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/device.cuh"
#include "switchyard/kernels/route.h"

namespace switchyard::kernels::cuda {

template <typename T>
using OrderKey = std::conditional_t<std::is_same_v<T, float>, std::uint32_t, std::uint64_t>;

// Maps a logit to an integer with the same order; NaN below everything, -0 equal to +0.
template <typename T>
__device__ __forceinline__ OrderKey<T> order_key(T logit) {
  using Key = OrderKey<T>;
  constexpr Key kSign = Key{1} << (8 * sizeof(Key) - 1);
  if (std::isnan(logit)) return 0;
  const T positive_zero = logit == T{0} ? T{0} : logit;
  Key bits;
  if constexpr (std::is_same_v<T, float>) {
    bits = __float_as_uint(positive_zero);
  } else {
    bits = static_cast<Key>(__double_as_longlong(positive_zero));
  }
  return (bits & kSign) != 0 ? static_cast<Key>(~bits) : bits | kSign;
}

// What a token chose: its experts are those at or before `last` in its order.
template <typename T>
struct TokenChoice {
  std::int32_t count;
  std::int32_t last;
  OrderKey<T> last_key;
};

template <typename T>
__device__ __forceinline__ TokenChoice<T> token_choice(const RouteChoice<T>& choice,
                                                       const T* logits_E, std::int64_t token) {
  const std::int32_t count = choice.token_offset_T1[token + 1] - choice.token_offset_T1[token];
  const std::int32_t last = choice.last_expert_T[token];
  return {count, last, count > 1 ? order_key(logits_E[last]) : OrderKey<T>{0}};
}

// One expert is `last` itself; this also covers the token without a finite logit, whose expert 0
// need not be first in the order.
template <typename T>
__device__ __forceinline__ bool is_chosen(const TokenChoice<T>& choice, T logit,
                                          std::int32_t expert) {
  if (choice.count <= 1) return choice.count == 1 && expert == choice.last;
  const OrderKey<T> key = order_key(logit);
  return key > choice.last_key || (key == choice.last_key && expert <= choice.last);
}

}  // namespace switchyard::kernels::cuda
