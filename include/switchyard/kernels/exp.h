// exp in the accumulation type, inlined into loops that vectorise.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace switchyard::kernels::cpu {

// Cephes' expf: 2^n * polynomial(x - n ln 2). Within 1 ulp of the true value over the whole range,
// exp(0) == 1, subnormal results, exp(-Inf) == 0, exp(+Inf) == +Inf, exp(NaN) is NaN. No branches.
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693145751953125F;  // few bits: n * kLn2High is exact
  constexpr float kLn2Low = 1.42860682030941723212e-6F;
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: adding it leaves round(x) in the low bits
  x = x < -104.0F ? -104.0F : x;         // below: 0
  x = x > 89.0F ? 89.0F : x;             // above: +Inf
  const float shifted = x * kLog2E + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float poly = 1.9875691500e-4F;
  poly = poly * r + 1.3981999507e-3F;
  poly = poly * r + 8.3334519073e-3F;
  poly = poly * r + 4.1665795894e-2F;
  poly = poly * r + 1.6666665459e-1F;
  poly = poly * r + 5.0000001201e-1F;
  poly = (poly * r) * r + r + 1.0F;
  // 2^n in two factors, because n reaches -150 and 128. Unsigned until the last step: the bits of
  // a NaN must not overflow.
  const auto power = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) -
                                               std::bit_cast<std::uint32_t>(kShift));
  const std::int32_t half = power >> 1;
  const std::uint32_t first = static_cast<std::uint32_t>(half) + 127U;
  const std::uint32_t second =
      static_cast<std::uint32_t>(power) - static_cast<std::uint32_t>(half) + 127U;
  return poly * std::bit_cast<float>(first << 23U) * std::bit_cast<float>(second << 23U);
}

[[gnu::always_inline]] inline double exponential(double x) {
  return std::exp(x);
}

}  // namespace switchyard::kernels::cpu
