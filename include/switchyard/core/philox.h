// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): random
// numbers as a pure function of (key, counter), so that initialisation, dropout, data order and
// sampling do not depend on layout, threads or history.
#pragma once

#include <array>
#include <cstdint>

namespace switchyard {

struct PhiloxKey {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
};
using PhiloxCounter = std::array<std::uint32_t, 4>;

[[nodiscard]] constexpr PhiloxKey philox_key(std::uint64_t seed) {
  return {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
}

// Four independent uniform 32-bit words for one counter.
[[nodiscard]] constexpr PhiloxCounter philox(PhiloxKey key, PhiloxCounter counter) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key.low,
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key.high,
               static_cast<std::uint32_t>(product0)};
    key.low += 0x9E3779B9U;
    key.high += 0xBB67AE85U;
  }
  return counter;
}

// Maps a word to [0, 1) with 24 bits.
[[nodiscard]] constexpr float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1.0p-24F;
}

}  // namespace switchyard
