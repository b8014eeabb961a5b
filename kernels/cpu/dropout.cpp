#include "switchyard/kernels/dropout.h"

#include <algorithm>
#include <cstdint>

#include "switchyard/core/parallel.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

constexpr std::int64_t kCounters = 16;          // computed together, one per vector lane
constexpr std::int64_t kWords = 4 * kCounters;  // one word decides about one element

// philox() of counters (step, place, token, first + i): as loops over lanes, which vectorise.
[[gnu::always_inline]] inline void philox_lanes(PhiloxKey key, std::uint32_t step,
                                                std::uint32_t place, std::uint32_t token,
                                                std::uint32_t first, std::uint32_t* words) {
  std::uint32_t c0[kCounters];
  std::uint32_t c1[kCounters];
  std::uint32_t c2[kCounters];
  std::uint32_t c3[kCounters];
  for (std::uint32_t i = 0; i < kCounters; ++i) {
    c0[i] = step;
    c1[i] = place;
    c2[i] = token;
    c3[i] = first + i;
  }
  for (int round = 0; round < 10; ++round) {
#pragma omp simd
    for (std::int64_t i = 0; i < kCounters; ++i) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * c0[i];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * c2[i];
      c0[i] = static_cast<std::uint32_t>(product1 >> 32) ^ c1[i] ^ key.low;
      c1[i] = static_cast<std::uint32_t>(product1);
      c2[i] = static_cast<std::uint32_t>(product0 >> 32) ^ c3[i] ^ key.high;
      c3[i] = static_cast<std::uint32_t>(product0);
    }
    key.low += 0x9E3779B9U;
    key.high += 0xBB67AE85U;
  }
  for (std::int64_t i = 0; i < kCounters; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}

template <typename Storage>
SWITCHYARD_SIMD_CLONES void drop_tokens(const DropoutParams<Storage>& params, std::int64_t begin,
                                        std::int64_t end) {
  using T = accumulation_t<Storage>;
  const auto threshold = static_cast<std::uint32_t>(params.rate * 0x1.0p32);
  const T factor = static_cast<T>(1.0 / (1.0 - params.rate));
  std::uint32_t words[kWords];
  for (std::int64_t token = begin; token < end; ++token) {
    const auto token_idx = static_cast<std::uint32_t>(params.token_idx_T[token]);
    const Storage* x = params.x + token * params.row_size;
    Storage* y = params.y + token * params.row_size;
    for (std::int64_t start = 0; start < params.row_size; start += kWords) {
      philox_lanes(params.key, params.step, params.place, token_idx,
                   static_cast<std::uint32_t>(start / 4), words);
      const std::int64_t count = std::min(kWords, params.row_size - start);
      for (std::int64_t i = 0; i < count; ++i) {
        const T kept = load(x[start + i]) * factor;
        y[start + i] = store<Storage>(words[i] >= threshold ? kept : T{0});
      }
    }
  }
}

template <typename Storage>
void drop(const DropoutParams<Storage>& params) {
  parallel_for(params.num_tokens, 64,
               [&](std::int64_t begin, std::int64_t end) { drop_tokens(params, begin, end); });
}

}  // namespace

void dropout(const DropoutParams<float>& params) {
  drop(params);
}
void dropout(const DropoutParams<double>& params) {
  drop(params);
}
void dropout(const DropoutParams<BFloat16>& params) {
  drop(params);
}

}  // namespace switchyard::kernels::cpu
