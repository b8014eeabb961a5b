// Attention importance of bf16 heads on tensor cores, by CUDA's warp matrix functions. A block owns
// 128 queries (or keys, for what is received) of one head and walks over the other side, 64 rows at
// a time; products of 16 x 16 stay in the fragments of a warp. Which lane holds which element of a
// fragment is not specified, so nothing here asks: every step takes whole fragments element by
// element, and what depends on a row or a column comes as a fragment itself, read from shared
// memory: minus the log-sum-exp, and -Inf where a query does not see a key. A second kernel adds up
// the heads, in their order.
#pragma once

#include <mma.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/attention_tile.cuh"
#include "switchyard/kernels/attention_importance.h"

namespace switchyard::kernels::cuda {

inline constexpr int kEdge = 16;         // of a fragment
inline constexpr int kEdgesPerWarp = 2;  // fragments of own rows that share one of the other side
inline constexpr int kTensorWarps = 4;
inline constexpr int kTensorThreads = kTensorWarps * kWarpSize;
inline constexpr int kOwnRows = kTensorWarps * kEdgesPerWarp * kEdge;
inline constexpr int kOtherRows = 64;
inline constexpr int kMaxTensorHead = 128;
// Row lengths in shared memory, chosen so that the rows of a fragment lie in different banks.
template <int kHead>
inline constexpr int kHeadStride = kHead + 8;
inline constexpr int kColumnStride = kOtherRows + 8;
inline constexpr int kEdgeStride = kEdge + 8;

using Left = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, kEdge, kEdge, kEdge, __nv_bfloat16,
                                    nvcuda::wmma::row_major>;
using Right = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, kEdge, kEdge, kEdge, __nv_bfloat16,
                                     nvcuda::wmma::col_major>;
using Sums = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kEdge, kEdge, kEdge, float>;

[[nodiscard]] constexpr bool is_received(AttentionStatistic statistic) {
  return statistic == AttentionStatistic::received ||
         statistic == AttentionStatistic::received_peak;
}

template <int kHead>
struct alignas(32) TensorTiles {
  // Two tiles of the other side, one that is read and one that is written; at first the own rows.
  __nv_bfloat16 rows[2 * kOtherRows][kHeadStride<kHead>];
  // Minus the log-sum-exp of queries: of the other side's, the same in all rows of a fragment, or
  // (by_warp) of a warp's own, the same in all columns.
  union {
    float by_column[2][kEdge][kColumnStride];
    float by_warp[kTensorWarps][kEdge][kEdgeStride];
  };
};

// Rows of one head between global and shared memory, in registers: they are read before the
// products of the rows before them and written after.
template <int kHead>
struct RowsOnTheirWay {
  static constexpr int kPack = kPackSize<BFloat16>;
  static constexpr int kPacksOfRow = kHead / kPack;
  static constexpr int kPacks = kOtherRows * kPacksOfRow / kTensorThreads;
  uint4 packs[kPacks];

  // Rows from `count` on and elements from head_dim on are 0.
  __device__ __forceinline__ void read(const TileRows<BFloat16>& from, std::int64_t head_dim) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int pack = i * kTensorThreads + static_cast<int>(threadIdx.x);
      const int row = pack / kPacksOfRow;
      const int d = pack % kPacksOfRow * kPack;
      packs[i] = uint4{0, 0, 0, 0};
      if (row < from.count && d < head_dim) {
        packs[i] = *reinterpret_cast<const uint4*>(from.rows.data +
                                                   (from.begin + row) * from.rows.token_stride +
                                                   from.head * from.rows.head_stride + d);
      }
    }
  }
  __device__ __forceinline__ void write(__nv_bfloat16 (*to)[kHeadStride<kHead>]) const {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int pack = i * kTensorThreads + static_cast<int>(threadIdx.x);
      *reinterpret_cast<uint4*>(&to[pack / kPacksOfRow][pack % kPacksOfRow * kPack]) = packs[i];
    }
  }
};

__device__ __forceinline__ float minus_infinity() {
  return -std::numeric_limits<float>::infinity();
}

// What a measure makes of the probabilities in a fragment, whose logarithms to base 2 are `factor`
// times the product plus `bias`; for `peak` a row's bias can wait. kMasked: where it is -Inf the
// query does not see the key, whatever the product is.
template <AttentionStatistic kStatistic, bool kMasked>
__device__ __forceinline__ void take(const Sums& products, float factor, const Sums& bias,
                                     Sums& totals) {
#pragma unroll
  for (int i = 0; i < totals.num_elements; ++i) {
    float log_probability = kStatistic == AttentionStatistic::peak
                                ? products.x[i] * factor
                                : fmaf(products.x[i], factor, bias.x[i]);
    if constexpr (kMasked) {
      if (bias.x[i] == minus_infinity()) log_probability = minus_infinity();
    }
    if constexpr (kStatistic == AttentionStatistic::received) {
      totals.x[i] += exp2f(log_probability);
    } else if constexpr (kStatistic == AttentionStatistic::entropy) {
      const bool hidden = kMasked && log_probability == minus_infinity();
      totals.x[i] += hidden ? 0.0F : exp2f(log_probability) * log_probability;
    } else {
      totals.x[i] = log_probability > totals.x[i] ? log_probability : totals.x[i];
    }
  }
}

namespace {  // of attention_importance.cu

// As many as there are registers for without spilling.
template <AttentionStatistic kStatistic, int kHead>
constexpr int kBlocksPerMultiprocessor = kHead > kMaxTensorHead / 2 ? 2
                                         : is_received(kStatistic)  ? 4
                                                                    : 3;

// A measure of one head: [A, T] by the rows of the block's tile.
template <AttentionStatistic kStatistic, int kHead>
__global__ void __launch_bounds__(kTensorThreads, kBlocksPerMultiprocessor<kStatistic, kHead>)
    importance_of_head(AttentionImportanceParams<BFloat16> params, SequenceTiles sequences,
                       float* value_AT) {
  constexpr bool kIsPeak =
      kStatistic == AttentionStatistic::peak || kStatistic == AttentionStatistic::received_peak;
  constexpr bool kOwnsKeys = is_received(kStatistic);
  constexpr int kSteps = kHead / kEdge;
  constexpr float kLog2OfE = 1.4426950408889634F;
  __shared__ TensorTiles<kHead> shared;

  const AttentionShape<BFloat16>& shape = params.shape;
  const OwnTile own = kOwnsKeys ? own_keys(sequences, kOwnRows) : own_queries(sequences, kOwnRows);
  const Sequence& sequence = own.sequence;
  const std::int64_t head = blockIdx.y;
  const std::int64_t group = head / (shape.num_heads / shape.num_groups);
  const float factor = static_cast<float>(shape.scale) * kLog2OfE;
  const float* lse_T = params.lse_AT + head * shape.num_queries + sequence.query_begin;
  const float* own_lse = lse_T + own.begin;  // where queries are owned
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int own_row = warp * kEdgesPerWarp * kEdge;  // the warp's first, within the tile

  const auto own_rows = [&](std::int64_t begin) {
    const std::int64_t count = std::min<std::int64_t>(kOtherRows, own.count - begin);
    return kOwnsKeys
               ? TileRows<BFloat16>{shape.k, group, sequence.key_begin + own.begin + begin, count}
               : TileRows<BFloat16>{shape.q, head, sequence.query_begin + own.begin + begin, count};
  };
  // Within a sequence positions are int: fewer registers. The tile's row r sees keys [0,
  // seen_by(r)).
  const int num_keys = static_cast<int>(sequence.num_keys);
  const int seen_by_first =
      sequence.causal ? static_cast<int>(sequence.first_own_key() + own.begin) + 1 : num_keys;
  const auto seen_by = [&](int row) { return std::min(seen_by_first + row, num_keys); };
  const int num_own = static_cast<int>(own.count);
  const int num_others = kOwnsKeys ? static_cast<int>(sequence.num_queries) : seen_by(num_own - 1);
  const auto other_rows = [&](int begin) {
    const std::int64_t count = std::min<std::int64_t>(kOtherRows, num_others - begin);
    return kOwnsKeys ? TileRows<BFloat16>{shape.q, head, sequence.query_begin + begin, count}
                     : TileRows<BFloat16>{shape.k, group, sequence.key_begin + begin, count};
  };

  // The own rows, by way of shared memory, into fragments that stay.
  RowsOnTheirWay<kHead> rows;
  for (int half = 0; half < kOwnRows / kOtherRows; ++half) {
    rows.read(own_rows(half * kOtherRows), shape.head_dim);
    rows.write(shared.rows + half * kOtherRows);
  }
  __syncthreads();
  Left own_side[kEdgesPerWarp][kSteps];
#pragma unroll
  for (int e = 0; e < kEdgesPerWarp; ++e) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      nvcuda::wmma::load_matrix_sync(
          own_side[e][step], &shared.rows[own_row + e * kEdge][step * kEdge], kHeadStride<kHead>);
    }
  }
  // Minus the log-sum-exp of own queries, -Inf for keys that they do not see.
  const auto bias_of_own = [&](int e, const auto& sees, Sums& bias) {
    float(*to)[kEdgeStride] = shared.by_warp[warp];
#pragma unroll 1
    for (int i = lane; i < kEdge * kEdge; i += kWarpSize) {
      const int row = own_row + e * kEdge + i / kEdge;
      const float lse = row < num_own ? own_lse[row] : 0.0F;
      to[i / kEdge][i % kEdge] = sees(row, i % kEdge) ? -lse * kLog2OfE : minus_infinity();
    }
    __syncwarp();
    nvcuda::wmma::load_matrix_sync(bias, &to[0][0], kEdgeStride, nvcuda::wmma::mem_row_major);
    __syncwarp();
  };
  Sums own_bias[kEdgesPerWarp];
  Sums totals[kEdgesPerWarp];
#pragma unroll
  for (int e = 0; e < kEdgesPerWarp; ++e) {
    if constexpr (kStatistic == AttentionStatistic::entropy) {
      bias_of_own(
          e, [](int, int) { return true; }, own_bias[e]);
    }
    nvcuda::wmma::fill_fragment(totals[e], kIsPeak ? minus_infinity() : 0.0F);
  }
  // Others that any row of the warp meets.
  const int last_row = std::min(own_row + kEdgesPerWarp * kEdge, num_own) - 1;
  const int warp_others = last_row < own_row ? 0 : kOwnsKeys ? num_others : seen_by(last_row);
  __syncthreads();  // the own rows have been read

  int buffer = 0;
  rows.read(other_rows(0), shape.head_dim);
  for (int begin = 0; begin < num_others; begin += kOtherRows) {
    rows.write(shared.rows + buffer * kOtherRows);
    if constexpr (kOwnsKeys) {
      const int column = static_cast<int>(threadIdx.x) % kOtherRows;
      const float bias =
          begin + column < num_others ? -lse_T[begin + column] * kLog2OfE : minus_infinity();
      for (int row = static_cast<int>(threadIdx.x) / kOtherRows; row < kEdge;
           row += kTensorThreads / kOtherRows) {
        shared.by_column[buffer][row][column] = bias;
      }
    }
    __syncthreads();
    if (begin + kOtherRows < num_others) rows.read(other_rows(begin + kOtherRows), shape.head_dim);
#pragma unroll 1  // more would take registers that other blocks need
    for (int other = 0; other < kOtherRows; other += kEdge) {
      if (begin + other >= warp_others) break;
      Sums products[kEdgesPerWarp];
#pragma unroll
      for (int e = 0; e < kEdgesPerWarp; ++e) nvcuda::wmma::fill_fragment(products[e], 0.0F);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        Right other_side;
        nvcuda::wmma::load_matrix_sync(other_side,
                                       &shared.rows[buffer * kOtherRows + other][step * kEdge],
                                       kHeadStride<kHead>);
#pragma unroll
        for (int e = 0; e < kEdgesPerWarp; ++e) {
          nvcuda::wmma::mma_sync(products[e], own_side[e][step], other_side, products[e]);
        }
      }
      Sums bias;
      if constexpr (kOwnsKeys) {
        nvcuda::wmma::load_matrix_sync(bias, &shared.by_column[buffer][0][other], kColumnStride,
                                       nvcuda::wmma::mem_row_major);
      }
#pragma unroll
      for (int e = 0; e < kEdgesPerWarp; ++e) {
        if constexpr (kOwnsKeys) {
          take<kStatistic, false>(products[e], factor, bias, totals[e]);
        } else if (begin + other + kEdge <=
                   seen_by(own_row + e * kEdge)) {  // its first row sees all
          take<kStatistic, false>(products[e], factor, own_bias[e], totals[e]);
        } else {
          const auto sees = [&](int row, int column) {
            return begin + other + column < seen_by(row);
          };
          bias_of_own(e, sees, bias);
          take<kStatistic, true>(products[e], factor, bias, totals[e]);
        }
      }
    }
    buffer ^= 1;
  }
  __syncthreads();  // by_column has been read: by_warp takes its place

  float(*result)[kEdgeStride] = shared.by_warp[warp];
  for (int e = 0; e < kEdgesPerWarp; ++e) {
    nvcuda::wmma::store_matrix_sync(&result[0][0], totals[e], kEdgeStride,
                                    nvcuda::wmma::mem_row_major);
    __syncwarp();
    const int row = own_row + e * kEdge + lane;
    if (lane < kEdge && row < num_own) {
      float value = result[lane][0];
      for (int column = 1; column < kEdge; ++column) {
        const float other = result[lane][column];
        value = !kIsPeak ? value + other : other > value ? other : value;
      }
      if constexpr (kStatistic == AttentionStatistic::peak) {
        value -= own_lse[row] * kLog2OfE;
      }
      if constexpr (kIsPeak) value = exp2f(value);
      if constexpr (kStatistic == AttentionStatistic::entropy) value /= -kLog2OfE;
      value_AT[head * shape.num_queries + sequence.query_begin + own.begin + row] = value;
    }
    __syncwarp();
  }
}

template <AttentionStatistic kStatistic>
__global__ void __launch_bounds__(kOwnRows)
    mean_over_heads(AttentionImportanceParams<BFloat16> params, SequenceTiles sequences,
                    const float* value_AT) {
  const AttentionShape<BFloat16>& shape = params.shape;
  const OwnTile own = own_queries(sequences, kOwnRows);
  if (threadIdx.x >= own.count) return;
  const std::int64_t query = own.begin + threadIdx.x;
  const std::int64_t token = own.sequence.query_begin + query;
  float sum = 0.0F;
  for (std::int64_t head = 0; head < shape.num_heads; ++head) {
    sum += value_AT[head * shape.num_queries + token];
  }
  const std::int64_t num_seen = own.sequence.visible(query);
  const float mean = sum / static_cast<float>(shape.num_heads);
  float value = mean;
  if constexpr (kStatistic == AttentionStatistic::received) {
    value = mean / static_cast<float>(own.sequence.num_queries);
  }
  if constexpr (kStatistic == AttentionStatistic::entropy) {
    value = mean / std::log(static_cast<float>(num_seen));
  }
  if constexpr (kStatistic == AttentionStatistic::entropy ||
                kStatistic == AttentionStatistic::peak) {
    if (num_seen == 1) value = 1.0F;  // one visible key: log(1) says nothing
  }
  params.importance_T[token] = value;
}

}  // namespace

// No mask, as flash attention has none; heads of up to 128 elements that can be read 16 bytes at a
// time.
[[nodiscard]] inline bool takes_tensor_cores(const AttentionShape<BFloat16>& shape) {
  constexpr std::int64_t kMaxBlocks = 65535;  // along the second axis of a grid
  return shape.key_valid == nullptr && shape.head_dim <= kMaxTensorHead &&
         shape.num_heads <= kMaxBlocks &&
         heads_fit_packs<BFloat16>(shape.head_dim, shape.q, shape.k);
}

template <AttentionStatistic kStatistic>
void run_on_tensor_cores(const AttentionImportanceParams<BFloat16>& params, Stream stream) {
  const AttentionShape<BFloat16>& shape = params.shape;
  const TilePlan<BFloat16> plan(shape, stream, kOwnRows);
  const std::int64_t num_values = shape.num_heads * shape.num_queries;
  Scratch scratch(Scratch::bytes_of<float>(num_values), stream);
  float* const value_AT = scratch.take<float>(num_values);
  const dim3 grid(is_received(kStatistic) ? plan.num_key_tiles() : plan.num_query_tiles(),
                  static_cast<unsigned>(shape.num_heads));
  const auto kernel = shape.head_dim <= kMaxTensorHead / 2
                          ? importance_of_head<kStatistic, kMaxTensorHead / 2>
                          : importance_of_head<kStatistic, kMaxTensorHead>;
  launch(kernel, grid, kTensorThreads, 0, stream, params, plan.tiles(), value_AT);
  launch(mean_over_heads<kStatistic>, plan.num_query_tiles(), kOwnRows, 0, stream, params,
         plan.tiles(), value_AT);
}

inline void run_on_tensor_cores(const AttentionImportanceParams<BFloat16>& params, Stream stream) {
  switch (params.statistic) {
    case AttentionStatistic::received:
      return run_on_tensor_cores<AttentionStatistic::received>(params, stream);
    case AttentionStatistic::received_peak:
      return run_on_tensor_cores<AttentionStatistic::received_peak>(params, stream);
    case AttentionStatistic::peak:
      return run_on_tensor_cores<AttentionStatistic::peak>(params, stream);
    case AttentionStatistic::entropy:
      return run_on_tensor_cores<AttentionStatistic::entropy>(params, stream);
  }
}

}  // namespace switchyard::kernels::cuda
