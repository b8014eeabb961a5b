// Attention as in FlashAttention (Dao et al., 2022), on the ordinary cores. One block owns a tile
// of queries (forward, gradient of q) or of keys (gradients of k and v) of one head and walks over
// the other side's tiles; its sums stay in registers, in a fixed order, without atomics. Backward
// computes the scores again in each of its two passes. Heads of more dims than a block keeps sums
// for are cut into slices, each with a block of its own.
#include "switchyard/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/attention_tile.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kChunkDims = 64;  // of the rows that are summed, in shared memory at a time
constexpr int kPerChunk = kChunkDims / kSide;

// Weighted sums of rows for a tile: at[i][j] is of its row kSide * i + left_lane() and of the
// dim kSide * j + right_lane().
template <typename T, int kChunks>
struct RowSums {
  T at[kPerThread<T>][kChunks * kPerChunk];
};

// The first dim of the block's slice.
template <int kChunks>
__device__ __forceinline__ std::int64_t first_dim() {
  return static_cast<std::int64_t>(blockIdx.z) * kChunks * kChunkDims;
}

// By summed row, then by row of the block's tile.
template <typename T>
using Weights = T[kTile<T>][kTile<T> + 1];
template <typename T>
using RowChunk = T[kTile<T>][kChunkDims];

// sums[own] += sum over rows r of weights[r][own] * rows[r], all threads together. Begins with a
// barrier, behind which `weights` may be read.
template <typename Storage, typename T, int kChunks>
__device__ __forceinline__ void add_rows(const Weights<T>& weights, const TileRows<Storage>& rows,
                                         const HeadLayout& layout, RowChunk<T>& chunk,
                                         RowSums<T, kChunks>& sums) {
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    const std::int64_t first = first_dim<kChunks>() + c * kChunkDims;
    if (first >= layout.head_dim) break;
    __syncthreads();  // the round before has read the chunk
    load_tile<kChunkDims>(rows, first, layout,
                          [&](int row, int d, T value) { chunk[row][d] = value; });
    __syncthreads();
    const int num_columns = static_cast<int>(
        std::min<std::int64_t>(kPerChunk, (layout.head_dim - first + kSide - 1) / kSide));
#pragma unroll 4
    for (int r = 0; r < kTile<T>; ++r) {
      T weight[kPerThread<T>];
#pragma unroll
      for (int i = 0; i < kPerThread<T>; ++i) weight[i] = weights[r][kSide * i + left_lane()];
#pragma unroll
      for (int j = 0; j < kPerChunk; ++j) {
        if (j >= num_columns) break;
        const T value = chunk[r][kSide * j + right_lane()];
#pragma unroll
        for (int i = 0; i < kPerThread<T>; ++i) {
          sums.at[i][c * kPerChunk + j] += weight[i] * value;
        }
      }
    }
  }
}

template <typename Storage, int kChunks>
__device__ __forceinline__ void store_rows(const RowSums<accumulation_t<Storage>, kChunks>& sums,
                                           int i, accumulation_t<Storage> factor,
                                           const HeadRows<Storage>& to, std::int64_t head,
                                           std::int64_t row, std::int64_t head_dim) {
  Storage* out = to.data + row * to.token_stride + head * to.head_stride;
#pragma unroll
  for (int j = 0; j < kChunks * kPerChunk; ++j) {
    const std::int64_t d = first_dim<kChunks>() + kSide * j + right_lane();
    if (d < head_dim) out[d] = narrow<Storage>(sums.at[i][j] * factor);
  }
}

// The running softmax of one query over tiles of keys, in the kSide threads that share it.
template <typename T>
struct OnlineSoftmax {
  T max = -std::numeric_limits<T>::infinity();
  T sum = 0;

  // Turns scores (-Inf: not seen) into exp(score - max) with the maximum so far. Returns what
  // earlier results of this query must be multiplied by.
  __device__ __forceinline__ T add(T (&scores)[kPerThread<T>]) {
    T largest = max;
#pragma unroll
    for (const T score : scores) largest = score > largest ? score : largest;
    largest = max_over_right(largest);
    const bool sees_any = largest != -std::numeric_limits<T>::infinity();
    T total = 0;
#pragma unroll
    for (T& score : scores) {
      // A maximum passes over what is no number; the sum must not.
      score = sees_any ? std::exp(score - largest) : (std::isnan(score) ? score : T{0});
      total += score;
    }
    const T factor = max == largest ? T{1} : std::exp(max - largest);
    sum = sum * factor + sum_over_right(total);
    max = largest;
    return factor;
  }
};

template <typename Storage, int kChunks>
__global__ void __launch_bounds__(kTileThreads)
    forward(AttentionParams<Storage> params, SequenceTiles sequences, HeadLayout layout) {
  using T = accumulation_t<Storage>;
  __shared__ PairOfTiles<T> tiles;
  __shared__ Weights<T> weights;
  __shared__ RowChunk<T> chunk;
  const AttentionShape<Storage>& shape = params.shape;
  const std::int64_t head = blockIdx.y;
  const std::int64_t group = head / (shape.num_heads / shape.num_groups);
  const auto [sequence, query_begin, num_queries] = own_queries<T>(sequences);
  const TileRows<Storage> queries{shape.q, head, sequence.query_begin + query_begin, num_queries,
                                  static_cast<T>(shape.scale)};
  OnlineSoftmax<T> softmax[kPerThread<T>];
  RowSums<T, kChunks> sums{};
  const std::int64_t limit = sequence.visible(query_begin + num_queries - 1);
  for (std::int64_t begin = 0; begin < limit; begin += kTile<T>) {
    const std::int64_t num_keys = std::min<std::int64_t>(kTile<T>, limit - begin);
    const std::int64_t key_row = sequence.key_begin + begin;
    Products<T> scores =
        row_products(queries, TileRows<Storage>{shape.k, group, key_row, num_keys}, layout, tiles);
#pragma unroll
    for (int j = 0; j < kPerThread<T>; ++j) {
      const std::int64_t key = kSide * j + right_lane();
      const bool is_key = key < num_keys && is_valid(shape, key_row + key);
#pragma unroll
      for (int i = 0; i < kPerThread<T>; ++i) {
        const std::int64_t query = query_begin + kSide * i + left_lane();
        if (!is_key || begin + key >= sequence.visible(query)) {
          scores.at[i][j] = -std::numeric_limits<T>::infinity();
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kPerThread<T>; ++i) {
      const T factor = softmax[i].add(scores.at[i]);
#pragma unroll
      for (T& sum : sums.at[i]) sum *= factor;
#pragma unroll
      for (int j = 0; j < kPerThread<T>; ++j) {
        weights[kSide * j + right_lane()][kSide * i + left_lane()] = scores.at[i][j];
      }
    }
    add_rows(weights, TileRows<Storage>{params.v, group, key_row, num_keys}, layout, chunk, sums);
  }
#pragma unroll
  for (int i = 0; i < kPerThread<T>; ++i) {
    const std::int64_t query = kSide * i + left_lane();
    if (query >= num_queries) continue;
    const T sum = softmax[i].sum;
    const bool sees_nothing = sum == T{0} && !sees_any_key(shape, sequence, query_begin + query);
    store_rows<Storage>(sums, i, sees_nothing ? T{0} : T{1} / sum, params.out, head,
                        queries.begin + query, layout.head_dim);
    if (right_lane() == 0 && blockIdx.z == 0) {
      params.lse_AT[head * shape.num_queries + queries.begin + query] =
          sees_nothing ? T{0} : softmax[i].max + std::log(sum);
    }
  }
}

// delta_AT = <dout, out>, one warp per (query, head).
template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    sum_deltas(AttentionBackwardParams<Storage> params, accumulation_t<Storage>* delta_AT) {
  const AttentionShape<Storage>& shape = params.shape;
  const std::int64_t row = row_of_warp();
  if (row >= shape.num_queries * shape.num_heads) return;
  const std::int64_t query = row / shape.num_heads;
  const std::int64_t head = row % shape.num_heads;
  const Storage* dout_D =
      params.dout.data + query * params.dout.token_stride + head * params.dout.head_stride;
  const Storage* out_D =
      params.out.data + query * params.out.token_stride + head * params.out.head_stride;
  accumulation_t<Storage> sum = 0;
  for (std::int64_t d = threadIdx.x * kCount; d < shape.head_dim; d += kWarpSize * kCount) {
    const auto douts = load_values<kCount>(dout_D + d);
    const auto outs = load_values<kCount>(out_D + d);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += douts.at[i] * outs.at[i];
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) delta_AT[head * shape.num_queries + query] = sum;
}

template <typename Storage, int kChunks>
__global__ void __launch_bounds__(kTileThreads)
    query_gradient(AttentionBackwardParams<Storage> params, SequenceTiles sequences,
                   HeadLayout layout, const accumulation_t<Storage>* delta_AT) {
  using T = accumulation_t<Storage>;
  __shared__ PairOfTiles<T> tiles;
  __shared__ Weights<T> weights;
  __shared__ RowChunk<T> chunk;
  const AttentionShape<Storage>& shape = params.shape;
  const std::int64_t head = blockIdx.y;
  const std::int64_t group = head / (shape.num_heads / shape.num_groups);
  const auto [sequence, query_begin, num_queries] = own_queries<T>(sequences);
  const auto scale = static_cast<T>(shape.scale);
  const std::int64_t first_row = sequence.query_begin + query_begin;
  const TileRows<Storage> queries{shape.q, head, first_row, num_queries, scale};
  const TileRows<Storage> douts{params.dout, head, first_row, num_queries};
  T lse[kPerThread<T>] = {};
  T delta[kPerThread<T>] = {};
#pragma unroll
  for (int i = 0; i < kPerThread<T>; ++i) {
    const std::int64_t query = kSide * i + left_lane();
    if (query >= num_queries) continue;
    lse[i] = params.lse_AT[head * shape.num_queries + first_row + query];
    delta[i] = delta_AT[head * shape.num_queries + first_row + query];
  }
  RowSums<T, kChunks> sums{};
  const std::int64_t limit = sequence.visible(query_begin + num_queries - 1);
  for (std::int64_t begin = 0; begin < limit; begin += kTile<T>) {
    const std::int64_t num_keys = std::min<std::int64_t>(kTile<T>, limit - begin);
    const std::int64_t key_row = sequence.key_begin + begin;
    const TileRows<Storage> keys{shape.k, group, key_row, num_keys};
    const TileRows<Storage> values{params.v, group, key_row, num_keys};
    const Products<T> scores = row_products(queries, keys, layout, tiles);
    const Products<T> dprobs = row_products(douts, values, layout, tiles);
#pragma unroll
    for (int j = 0; j < kPerThread<T>; ++j) {
      const std::int64_t key = kSide * j + right_lane();
      const bool is_key = key < num_keys && is_valid(shape, key_row + key);
#pragma unroll
      for (int i = 0; i < kPerThread<T>; ++i) {
        const std::int64_t query = query_begin + kSide * i + left_lane();
        const bool sees = is_key && begin + key < sequence.visible(query);
        const T prob = sees ? std::exp(scores.at[i][j] - lse[i]) : T{0};
        weights[key][kSide * i + left_lane()] = sees ? prob * (dprobs.at[i][j] - delta[i]) : T{0};
      }
    }
    add_rows(weights, keys, layout, chunk, sums);
  }
#pragma unroll
  for (int i = 0; i < kPerThread<T>; ++i) {
    const std::int64_t query = kSide * i + left_lane();
    if (query >= num_queries) continue;
    store_rows<Storage>(sums, i, scale, params.dq, head, first_row + query, layout.head_dim);
  }
}

// Sums over the query heads that share a key head, in order.
template <typename Storage, int kChunks>
__global__ void __launch_bounds__(kTileThreads)
    key_gradient(AttentionBackwardParams<Storage> params, SequenceTiles sequences,
                 HeadLayout layout, const accumulation_t<Storage>* delta_AT) {
  using T = accumulation_t<Storage>;
  __shared__ PairOfTiles<T> tiles;
  __shared__ Weights<T> weights;
  __shared__ RowChunk<T> chunk;
  const AttentionShape<Storage>& shape = params.shape;
  const std::int64_t group = blockIdx.y;
  const std::int64_t heads_per_group = shape.num_heads / shape.num_groups;
  const auto [sequence, key_begin, num_keys] = own_keys<T>(sequences);
  const std::int64_t key_row = sequence.key_begin + key_begin;
  const TileRows<Storage> keys{shape.k, group, key_row, num_keys};
  const TileRows<Storage> values{params.v, group, key_row, num_keys};
  RowSums<T, kChunks> key_sums{};
  RowSums<T, kChunks> value_sums{};
  // The first query that sees any of the keys.
  const std::int64_t first =
      sequence.causal ? std::max<std::int64_t>(0, key_begin - sequence.first_own_key()) : 0;
  for (std::int64_t head = group * heads_per_group; head < (group + 1) * heads_per_group; ++head) {
    for (std::int64_t begin = first; begin < sequence.num_queries; begin += kTile<T>) {
      const std::int64_t num_queries =
          std::min<std::int64_t>(kTile<T>, sequence.num_queries - begin);
      const std::int64_t query_row = sequence.query_begin + begin;
      // Scaled queries give scaled scores, and the right gradient of k without another factor.
      const TileRows<Storage> queries{shape.q, head, query_row, num_queries,
                                      static_cast<T>(shape.scale)};
      const TileRows<Storage> douts{params.dout, head, query_row, num_queries};
      Products<T> scores = row_products(keys, queries, layout, tiles);
      Products<T> dprobs = row_products(values, douts, layout, tiles);
#pragma unroll
      for (int j = 0; j < kPerThread<T>; ++j) {
        const std::int64_t query = kSide * j + right_lane();
        const bool is_query = query < num_queries;
        const std::int64_t at = head * shape.num_queries + query_row + query;
        const T lse = is_query ? params.lse_AT[at] : T{0};
        const T delta = is_query ? delta_AT[at] : T{0};
#pragma unroll
        for (int i = 0; i < kPerThread<T>; ++i) {
          const std::int64_t key = kSide * i + left_lane();
          const bool sees = is_query && key < num_keys &&
                            key_begin + key < sequence.visible(begin + query) &&
                            is_valid(shape, key_row + key);
          const T prob = sees ? std::exp(scores.at[i][j] - lse) : T{0};
          dprobs.at[i][j] = sees ? prob * (dprobs.at[i][j] - delta) : T{0};
          weights[query][key] = prob;
        }
      }
      add_rows(weights, douts, layout, chunk, value_sums);
      __syncthreads();  // everyone has read the probabilities
#pragma unroll
      for (int j = 0; j < kPerThread<T>; ++j) {
#pragma unroll
        for (int i = 0; i < kPerThread<T>; ++i) {
          weights[kSide * j + right_lane()][kSide * i + left_lane()] = dprobs.at[i][j];
        }
      }
      add_rows(weights, queries, layout, chunk, key_sums);
    }
  }
#pragma unroll
  for (int i = 0; i < kPerThread<T>; ++i) {
    const std::int64_t key = kSide * i + left_lane();
    if (key >= num_keys) continue;
    store_rows<Storage>(key_sums, i, T{1}, params.dk, group, key_row + key, layout.head_dim);
    store_rows<Storage>(value_sums, i, T{1}, params.dv, group, key_row + key, layout.head_dim);
  }
}

template <int kChunks>
dim3 grid_of(unsigned num_tiles, std::int64_t num_heads, std::int64_t head_dim) {
  return {num_tiles, num_blocks(num_heads, 1), num_blocks(head_dim, kChunks * kChunkDims)};
}

template <typename Storage, int kChunks>
void run_chunks(const AttentionParams<Storage>& params, Stream stream) {
  const AttentionShape<Storage>& shape = params.shape;
  const TilePlan<Storage> plan(shape, stream);
  launch(forward<Storage, kChunks>,
         grid_of<kChunks>(plan.num_query_tiles(), shape.num_heads, shape.head_dim), kTileThreads, 0,
         stream, params, plan.tiles(),
         head_layout<Storage>(shape.head_dim, shape.q, shape.k, params.v));
}

template <typename Storage, int kChunks>
void run_chunks(const AttentionBackwardParams<Storage>& params, Stream stream) {
  using T = accumulation_t<Storage>;
  const AttentionShape<Storage>& shape = params.shape;
  const TilePlan<Storage> plan(shape, stream);
  const HeadLayout layout =
      head_layout<Storage>(shape.head_dim, shape.q, shape.k, params.v, params.dout);
  const std::int64_t num_rows = shape.num_queries * shape.num_heads;
  Scratch scratch(Scratch::bytes_of<T>(num_rows), stream);
  T* delta_AT = scratch.take<T>(num_rows);
  const bool packs = head_layout<Storage>(shape.head_dim, params.dout, params.out).in_packs;
  launch(packs ? sum_deltas<Storage, kPackSize<Storage>> : sum_deltas<Storage, 1>,
         num_blocks(num_rows, kRowsPerBlock), kRowBlock, 0, stream, params, delta_AT);
  launch(query_gradient<Storage, kChunks>,
         grid_of<kChunks>(plan.num_query_tiles(), shape.num_heads, shape.head_dim), kTileThreads, 0,
         stream, params, plan.tiles(), layout, delta_AT);
  launch(key_gradient<Storage, kChunks>,
         grid_of<kChunks>(plan.num_key_tiles(), shape.num_groups, shape.head_dim), kTileThreads, 0,
         stream, params, plan.tiles(), layout, delta_AT);
}

// How many sums a thread keeps has to be known when compiling.
template <template <typename> typename Params, typename Storage>
void run(const Params<Storage>& params, Stream stream) {
  if (params.shape.head_dim <= kChunkDims) {
    run_chunks<Storage, 1>(params, stream);
  } else {
    run_chunks<Storage, 2>(params, stream);
  }
}

}  // namespace

void attention(const AttentionParams<float>& params, Stream stream) {
  run(params, stream);
}
void attention(const AttentionParams<double>& params, Stream stream) {
  run(params, stream);
}
void attention(const AttentionParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}
void attention_backward(const AttentionBackwardParams<float>& params, Stream stream) {
  run(params, stream);
}
void attention_backward(const AttentionBackwardParams<double>& params, Stream stream) {
  run(params, stream);
}
void attention_backward(const AttentionBackwardParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
