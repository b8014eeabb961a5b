// The upper half of a float: storage type of the CPU kernels; all arithmetic is in float.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace switchyard::kernels {

// Same bits as c10::BFloat16 and __nv_bfloat16.
struct BFloat16 {
  std::uint16_t bits = 0;
};

[[nodiscard]] constexpr float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

// Rounds to nearest even. Any NaN becomes the quiet NaN: rounding its bits could give infinity.
// Written without branches so that loops over it vectorise.
[[nodiscard]] constexpr BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return {static_cast<std::uint16_t>(is_nan ? 0x7FC0U : rounded)};
}

// The type a kernel computes in for a storage type: float for float and bfloat16, else double.
template <typename Storage>
struct Accumulation {
  using type = Storage;
};
template <>
struct Accumulation<BFloat16> {
  using type = float;
};
template <typename Storage>
using accumulation_t = typename Accumulation<Storage>::type;

// One spelling for loads and stores of every storage type.
[[nodiscard]] constexpr float load(float value) {
  return value;
}
[[nodiscard]] constexpr double load(double value) {
  return value;
}
[[nodiscard]] constexpr float load(BFloat16 value) {
  return to_float(value);
}

template <typename Storage, typename Value>
[[nodiscard]] constexpr Storage store(Value value) {
  if constexpr (std::is_same_v<Storage, BFloat16>) {
    return to_bfloat16(static_cast<float>(value));
  } else {
    return static_cast<Storage>(value);
  }
}

}  // namespace switchyard::kernels
