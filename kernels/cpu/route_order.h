// The order of a token's experts, and the fixed blocks of tokens that sums are made over.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace switchyard::kernels::cpu {

// Maps a logit to an integer with the same order; NaN below everything, -0 equal to +0.
template <typename T>
[[gnu::always_inline]] inline auto order_key(T logit) {
  using Bits = std::conditional_t<std::is_same_v<T, float>, std::uint32_t, std::uint64_t>;
  constexpr Bits kSign = Bits{1} << (8 * sizeof(Bits) - 1);
  const Bits bits = std::bit_cast<Bits>(logit + T{0});  // -0 + 0 == +0
  const Bits key = (bits & kSign) != 0 ? static_cast<Bits>(~bits) : bits | kSign;
  return std::isnan(logit) ? Bits{0} : key;
}

// Is `expert` at or before `last` in the token's order?
template <typename T>
[[gnu::always_inline]] inline bool is_chosen(const T* logits_E, std::int64_t expert,
                                             std::int64_t last) {
  const auto key = order_key(logits_E[expert]);
  const auto last_key = order_key(logits_E[last]);
  return key > last_key || (key == last_key && expert <= last);
}

// Calls fn(expert) for a token's experts in ascending id. One expert is `last` itself; this also
// covers the token without a finite logit, whose expert 0 need not be first in the order.
template <typename T, typename Fn>
[[gnu::always_inline]] inline void for_each_chosen(const T* logits_E, std::int64_t num_experts,
                                                   std::int64_t num_chosen, std::int64_t last,
                                                   const Fn& fn) {
  if (num_chosen == 0) return;
  if (num_chosen == 1) {
    fn(last);
    return;
  }
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    if (is_chosen(logits_E, expert, last)) fn(expert);
  }
}

// A run of tokens of one sequence. Depends on nothing but the sequences, so that sums made per
// block and added in block order have the same bits whatever the number of threads.
struct TokenBlock {
  std::int64_t sequence = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

inline std::vector<TokenBlock> token_blocks(const std::int32_t* sequence_offset_B1,
                                            std::int64_t num_sequences) {
  constexpr std::int64_t kBlock = 256;
  std::vector<TokenBlock> blocks;
  for (std::int64_t sequence = 0; sequence < num_sequences; ++sequence) {
    const std::int64_t end = sequence_offset_B1[sequence + 1];
    for (std::int64_t begin = sequence_offset_B1[sequence]; begin < end; begin += kBlock) {
      blocks.push_back({sequence, begin, std::min(begin + kBlock, end)});
    }
  }
  return blocks;
}

}  // namespace switchyard::kernels::cpu
