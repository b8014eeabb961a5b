// The choice per token that top_p_route and top_k_route share: experts in order, up to a limit,
// until their probabilities reach a target; then the offsets of the tokens' rows.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/dynamic_shared.cuh"
#include "cuda/route_order.cuh"
#include "switchyard/kernels/route.h"

namespace switchyard::kernels::cuda {

template <typename T>
struct ChoiceRule {
  std::int64_t limit = 0;
  const std::int32_t* limit_T = nullptr;  // instead of `limit`, when not null
  bool has_target = false;
  T target = 0;  // stop once the cumulative probability is not below
};

// The units of this header are compiled into two .cu files.
namespace {

constexpr int kMaxWarpExperts = 128;
constexpr int kBlockThreads = 256;
constexpr int kTileTokens = 4 * kBlockThreads;

template <typename T>
__device__ __forceinline__ std::int32_t limit_of(const RouteLogits<T>& in,
                                                 const ChoiceRule<T>& rule, std::int64_t token) {
  if (in.valid_T != nullptr && !in.valid_T[token]) return 0;
  const std::int64_t limit = rule.limit_T == nullptr ? rule.limit : rule.limit_T[token];
  return static_cast<std::int32_t>(std::min(std::max(limit, std::int64_t{0}), in.num_experts));
}

template <typename T>
__device__ __forceinline__ void store_choice(const RouteChoice<T>& out, std::int64_t token, T max,
                                             T sum, std::int32_t count, std::int32_t last) {
  out.softmax_T2[2 * token] = max;
  out.softmax_T2[2 * token + 1] = sum;
  out.last_expert_T[token] = last;
  out.token_offset_T1[token + 1] = count;
}

__device__ __forceinline__ std::uint32_t warp_max_key(std::uint32_t key) {
  return __reduce_max_sync(kFullWarp, key);
}
__device__ __forceinline__ std::uint64_t warp_max_key(std::uint64_t key) {
  const auto high = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t max_high = __reduce_max_sync(kFullWarp, high);
  const std::uint32_t low = high == max_high ? static_cast<std::uint32_t>(key) : 0U;
  return std::uint64_t{max_high} << 32 | __reduce_max_sync(kFullWarp, low);
}

// One warp per token; lane l holds experts l, l + 32, ... Experts leave one by one, the most
// probable first: few do.
template <typename T, int kPerLane>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    choose_by_warp(RouteLogits<T> in, ChoiceRule<T> rule, RouteChoice<T> out) {
  const std::int64_t token = row_of_warp();
  if (token >= in.num_tokens) return;
  const auto num_experts = static_cast<std::int32_t>(in.num_experts);
  const auto lane = static_cast<std::int32_t>(threadIdx.x);
  const T* logits_E = in.logits_TE + token * num_experts;
  T exps[kPerLane] = {};
  OrderKey<T> keys[kPerLane] = {};
  T max = -std::numeric_limits<T>::infinity();
  bool any_finite = false;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const std::int32_t expert = lane + j * kWarpSize;
    if (expert >= num_experts) break;
    const T logit = logits_E[expert];
    exps[j] = logit;
    keys[j] = order_key(logit);
    max = logit > max ? logit : max;
    any_finite = any_finite || std::isfinite(logit);
  }
  max = warp_max(max);
  T sum = 0;
  unsigned waiting = 0;  // bit j: the lane's expert j was not chosen yet
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    if (lane + j * kWarpSize >= num_experts) break;
    exps[j] = std::exp(exps[j] - max);
    sum += exps[j];
    waiting |= 1U << j;
  }
  sum = warp_sum(sum);

  const std::int32_t limit = limit_of(in, rule, token);
  std::int32_t count = 0;
  std::int32_t last = -1;
  if (limit > 0 && !__any_sync(kFullWarp, any_finite)) {
    count = 1;
    last = 0;
  } else {
    T cumulative = 0;
    while (count < limit) {
      OrderKey<T> best = 0;
      std::int32_t best_expert = -1;  // none
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        if ((waiting >> j & 1U) != 0 && (best_expert < 0 || keys[j] > best)) {
          best = keys[j];
          best_expert = lane + j * kWarpSize;
        }
      }
      const bool is_best = warp_max_key(best) == best && best_expert >= 0;
      const std::int32_t winner = __reduce_min_sync(kFullWarp, is_best ? best_expert : num_experts);
      T value = 0;
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        if (winner == lane + j * kWarpSize) {
          value = exps[j];
          waiting &= ~(1U << j);
        }
      }
      cumulative += __shfl_sync(kFullWarp, value, winner % kWarpSize) / sum;
      last = winner;
      ++count;
      if (rule.has_target && !(cumulative < rule.target)) break;  // negated: a NaN stops too
    }
  }
  if (lane == 0) store_choice(out, token, max, sum, count, last);
}

template <typename T>
struct Candidate {
  OrderKey<T> key;
  std::uint32_t expert;
};

// One block per token: sorts all experts in shared memory (bitonic), then takes a prefix.
// Dynamic shared memory: Candidate[padded_experts], T[num_experts].
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    choose_by_block(RouteLogits<T> in, ChoiceRule<T> rule, RouteChoice<T> out,
                    std::uint32_t padded_experts) {
  __shared__ T per_warp[kBlockThreads / kWarpSize];
  const std::int64_t token = blockIdx.x;
  const auto num_experts = static_cast<std::uint32_t>(in.num_experts);
  const T* logits_E = in.logits_TE + token * num_experts;
  auto* sorted = dynamic_shared<Candidate<T>>();
  T* exps_E = reinterpret_cast<T*>(sorted + padded_experts);

  T max = -std::numeric_limits<T>::infinity();
  bool any_finite = false;
  for (std::uint32_t e = threadIdx.x; e < padded_experts; e += kBlockThreads) {
    if (e >= num_experts) {
      sorted[e] = {0, 0xFFFFFFFFU};  // behind everything
      continue;
    }
    const T logit = logits_E[e];
    sorted[e] = {order_key(logit), e};
    exps_E[e] = logit;
    max = logit > max ? logit : max;
    any_finite = any_finite || std::isfinite(logit);
  }
  max = warp_max(max);
  if (threadIdx.x % kWarpSize == 0) per_warp[threadIdx.x / kWarpSize] = max;
  any_finite = __syncthreads_or(any_finite) != 0;
  for (int i = 0; i < kBlockThreads / kWarpSize; ++i) {
    max = per_warp[i] > max ? per_warp[i] : max;
  }
  __syncthreads();
  T sum = 0;
  for (std::uint32_t e = threadIdx.x; e < num_experts; e += kBlockThreads) {
    exps_E[e] = std::exp(exps_E[e] - max);
    sum += exps_E[e];
  }
  sum = block_sum<kBlockThreads>(sum, per_warp);

  const auto comes_first = [](const Candidate<T>& a, const Candidate<T>& b) {
    return a.key > b.key || (a.key == b.key && a.expert < b.expert);
  };
  for (std::uint32_t size = 2; size <= padded_experts; size *= 2) {
    for (std::uint32_t stride = size / 2; stride > 0; stride /= 2) {
      for (std::uint32_t i = threadIdx.x; i < padded_experts / 2; i += kBlockThreads) {
        const std::uint32_t a = 2 * stride * (i / stride) + i % stride;
        const std::uint32_t b = a + stride;
        const bool ascending = (a & size) == 0;
        const Candidate<T> first = sorted[a];
        const Candidate<T> second = sorted[b];
        if (comes_first(second, first) == ascending) {
          sorted[a] = second;
          sorted[b] = first;
        }
      }
      __syncthreads();
    }
  }
  if (threadIdx.x != 0) return;
  const std::int32_t limit = limit_of(in, rule, token);
  std::int32_t count = 0;
  std::int32_t last = -1;
  if (limit > 0 && !any_finite) {
    count = 1;
    last = 0;
  } else if (limit > 0) {
    count = limit;
    if (rule.has_target) {
      T cumulative = 0;
      for (count = 0; count < limit;) {
        cumulative += exps_E[sorted[count++].expert] / sum;
        if (!(cumulative < rule.target)) break;
      }
    }
    last = static_cast<std::int32_t>(sorted[count - 1].expert);
  }
  store_choice(out, token, max, sum, count, last);
}

// Sum of the counts of each tile of tokens.
__global__ void __launch_bounds__(kBlockThreads)
    sum_tiles(const std::int32_t* count_T, std::int64_t num_tokens, std::int64_t* tile_sum) {
  __shared__ std::int64_t per_warp[kBlockThreads / kWarpSize];
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kTileTokens;
  const std::int64_t end = std::min(begin + kTileTokens, num_tokens);
  std::int64_t sum = 0;
  for (std::int64_t t = begin + threadIdx.x; t < end; t += kBlockThreads) sum += count_T[t];
  sum = block_sum<kBlockThreads>(sum, per_warp);
  if (threadIdx.x == 0) tile_sum[blockIdx.x] = sum;
}

// Turns the counts in offset_T1[1..] into offsets, and stores N behind the sums of the tiles.
__global__ void __launch_bounds__(kBlockThreads)
    offsets_of_counts(std::int32_t* offset_T1, std::int64_t num_tokens, std::int64_t num_tiles,
                      std::int64_t* tile_sum) {
  __shared__ std::int64_t per_warp[kBlockThreads / kWarpSize];
  __shared__ std::int64_t per_warp_of_scan[kBlockThreads / kWarpSize];
  constexpr int kTokens = kTileTokens / kBlockThreads;
  std::int64_t before = 0;  // rows of the tiles before this one
  for (std::int64_t i = threadIdx.x; i < blockIdx.x; i += kBlockThreads) before += tile_sum[i];
  before = block_sum<kBlockThreads>(before, per_warp);

  const std::int64_t begin =
      static_cast<std::int64_t>(blockIdx.x) * kTileTokens + threadIdx.x * kTokens;
  std::int64_t counts[kTokens] = {};
  std::int64_t sum = 0;
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    if (begin + i < num_tokens) counts[i] = offset_T1[begin + i + 1];
    sum += counts[i];
  }
  std::int64_t total = 0;
  std::int64_t next = before + exclusive_scan<kBlockThreads>(sum, per_warp_of_scan, total);
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    next += counts[i];
    if (begin + i < num_tokens) offset_T1[begin + i + 1] = static_cast<std::int32_t>(next);
  }
  if (threadIdx.x == 0 && blockIdx.x == 0) offset_T1[0] = 0;
  if (threadIdx.x == 0 && blockIdx.x + 1 == gridDim.x) tile_sum[num_tiles] = before + total;
}

template <typename T>
void choose(const RouteLogits<T>& in, const ChoiceRule<T>& rule, const RouteChoice<T>& out,
            Stream stream) {
  if (in.num_experts <= kMaxWarpExperts) {
    const auto kernel = in.num_experts <= 32   ? choose_by_warp<T, 1>
                        : in.num_experts <= 64 ? choose_by_warp<T, 2>
                                               : choose_by_warp<T, 4>;
    launch(kernel, num_blocks(in.num_tokens, kRowsPerBlock), kRowBlock, 0, stream, in, rule, out);
    return;
  }
  check_num_experts(in.num_experts);
  const std::uint32_t padded = std::bit_ceil(static_cast<std::uint32_t>(in.num_experts));
  const std::size_t shared_bytes =
      padded * sizeof(Candidate<T>) + static_cast<std::size_t>(in.num_experts) * sizeof(T);
  launch(choose_by_block<T>, num_blocks(in.num_tokens, 1), kBlockThreads, shared_bytes, stream, in,
         rule, out, padded);
}

// Returns N, for which the host waits; not where no token may choose any expert.
template <typename T>
std::int64_t choose_experts(const RouteLogits<T>& in, const ChoiceRule<T>& rule,
                            const RouteChoice<T>& out, Stream stream) {
  choose(in, rule, out, stream);
  const std::int64_t num_tiles = num_blocks(in.num_tokens, kTileTokens);
  Scratch scratch(Scratch::bytes_of<std::int64_t>(num_tiles + 1), stream);
  auto* tile_sum = scratch.take<std::int64_t>(num_tiles + 1);
  launch(sum_tiles, static_cast<unsigned>(num_tiles), kBlockThreads, 0, stream,
         out.token_offset_T1 + 1, in.num_tokens, tile_sum);
  launch(offsets_of_counts, static_cast<unsigned>(std::max<std::int64_t>(1, num_tiles)),
         kBlockThreads, 0, stream, out.token_offset_T1, in.num_tokens, num_tiles, tile_sum);
  if (rule.limit_T == nullptr && rule.limit <= 0) return 0;
  return read_back(tile_sum + num_tiles, stream);
}

}  // namespace
}  // namespace switchyard::kernels::cuda
