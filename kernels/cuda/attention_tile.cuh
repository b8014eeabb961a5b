// What the passes over attention scores share: tiles of rows of one head in shared memory, products
// of two tiles in registers, and which keys a query sees. A block is 16 x 16 threads; arithmetic is
// in the accumulation type on the ordinary cores.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/device.cuh"
#include "switchyard/kernels/attention.h"
#include "switchyard/kernels/upload.h"

namespace switchyard::kernels::cuda {

inline constexpr int kSide = 16;  // threads along each side of a tile of scores
inline constexpr int kTileThreads = kSide * kSide;
inline constexpr int kDims = 16;  // of the head, in shared memory at a time
// Queries and keys of a tile of scores; twice as many doubles would not fit in shared memory.
template <typename T>
inline constexpr int kTile = sizeof(T) == sizeof(double) ? 32 : 64;
template <typename T>
inline constexpr int kPerThread = kTile<T> / kSide;

struct Sequence {
  std::int64_t query_begin;  // row of q
  std::int64_t num_queries;
  std::int64_t key_begin;  // row of k and v
  std::int64_t num_keys;
  bool causal;

  // Queries are the last of the keys: query 0 owns this key.
  [[nodiscard]] __device__ std::int64_t first_own_key() const { return num_keys - num_queries; }
  // The query sees keys [0, visible(query)).
  [[nodiscard]] __device__ std::int64_t visible(std::int64_t query) const {
    const std::int64_t end = first_own_key() + query + 1;
    return causal && end < num_keys ? end : num_keys;
  }
};

// The sequences and how they are cut into tiles, on the device: tiles of sequence b are
// [first[b], first[b + 1]).
struct SequenceTiles {
  std::int64_t num_sequences;
  const Sequence* sequence_B;
  const std::int32_t* first_query_tile_B1;
  const std::int32_t* first_key_tile_B1;
};

// The tile of a sequence's queries or keys that the block owns, by blockIdx.x.
struct OwnTile {
  Sequence sequence;
  std::int64_t begin;  // relative to the sequence's first query or key
  std::int64_t count;
};

__device__ __forceinline__ OwnTile own_tile(const SequenceTiles& tiles,
                                            const std::int32_t* first_tile_B1,
                                            std::int64_t Sequence::*num_rows, int rows_per_tile) {
  const std::int32_t b = segment_of(first_tile_B1, tiles.num_sequences, blockIdx.x);
  const Sequence sequence = tiles.sequence_B[b];
  const std::int64_t begin = (blockIdx.x - first_tile_B1[b]) * std::int64_t{rows_per_tile};
  return {sequence, begin, std::min<std::int64_t>(rows_per_tile, sequence.*num_rows - begin)};
}
__device__ __forceinline__ OwnTile own_queries(const SequenceTiles& tiles, int rows_per_tile) {
  return own_tile(tiles, tiles.first_query_tile_B1, &Sequence::num_queries, rows_per_tile);
}
__device__ __forceinline__ OwnTile own_keys(const SequenceTiles& tiles, int rows_per_tile) {
  return own_tile(tiles, tiles.first_key_tile_B1, &Sequence::num_keys, rows_per_tile);
}
template <typename T>
__device__ __forceinline__ OwnTile own_queries(const SequenceTiles& tiles) {
  return own_queries(tiles, kTile<T>);
}
template <typename T>
__device__ __forceinline__ OwnTile own_keys(const SequenceTiles& tiles) {
  return own_keys(tiles, kTile<T>);
}

template <typename T>
__device__ bool is_valid(const AttentionShape<T>& shape, std::int64_t key_row) {
  return shape.key_valid == nullptr || shape.key_valid[key_row];
}

// Rows of one head, times `factor`; rows from `count` on read as 0.
template <typename Storage>
struct TileRows {
  HeadRows<const Storage> rows;
  std::int64_t head;
  std::int64_t begin;
  std::int64_t count;
  accumulation_t<Storage> factor = 1;
};

template <int kNumDims, int kCount, typename Storage, typename Put>
__device__ __forceinline__ void load_tile(const TileRows<Storage>& from, std::int64_t first_dim,
                                          std::int64_t head_dim, const Put& put) {
  constexpr int kPacks = kNumDims / kCount;  // of one row
  constexpr int kRows = kTile<accumulation_t<Storage>>;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kPacks; i += kTileThreads) {
    const int row = i / kPacks;
    const int d = i % kPacks * kCount;
    Values<Storage, kCount> values{};
    if (row < from.count && first_dim + d < head_dim) {
      values = load_values<kCount>(from.rows.data + (from.begin + row) * from.rows.token_stride +
                                   from.head * from.rows.head_stride + first_dim + d);
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) put(row, d + j, values.at[j] * from.factor);
  }
}

// How the rows of a head are read.
struct HeadLayout {
  std::int64_t head_dim;
  bool in_packs;
};

// Can all rows be read in 16-byte packs?
template <typename Storage, typename... Rows>
[[nodiscard]] HeadLayout head_layout(std::int64_t head_dim, const Rows&... rows) {
  return {head_dim, heads_fit_packs<Storage>(head_dim, rows...)};
}

// Calls put(row, dim, value) for every element of a tile and kNumDims dims of it, zeros included.
template <int kNumDims, typename Storage, typename Put>
__device__ __forceinline__ void load_tile(const TileRows<Storage>& from, std::int64_t first_dim,
                                          const HeadLayout& layout, const Put& put) {
  if (layout.in_packs) {
    load_tile<kNumDims, kPackSize<Storage>>(from, first_dim, layout.head_dim, put);
  } else {
    load_tile<kNumDims, 1>(from, first_dim, layout.head_dim, put);
  }
}

// Some dims of two tiles, by dim: neighbouring threads read neighbouring rows.
template <typename T>
struct PairOfTiles {
  T left[kDims][kTile<T> + 1];
  T right[kDims][kTile<T> + 1];
};

__device__ __forceinline__ int left_lane() {
  return static_cast<int>(threadIdx.x) / kSide;
}
__device__ __forceinline__ int right_lane() {
  return static_cast<int>(threadIdx.x) % kSide;
}

// A thread's part of the products of two tiles: at[i][j] is of row kSide * i + left_lane() of the
// left tile and row kSide * j + right_lane() of the right one.
template <typename T>
struct Products {
  T at[kPerThread<T>][kPerThread<T>];
};

// Inner products of all rows of two tiles, all threads together. Begins with a barrier.
template <typename Storage, typename T>
__device__ __forceinline__ Products<T> row_products(const TileRows<Storage>& left,
                                                    const TileRows<Storage>& right,
                                                    const HeadLayout& layout,
                                                    PairOfTiles<T>& tiles) {
  Products<T> products{};
  for (std::int64_t first = 0; first < layout.head_dim; first += kDims) {
    __syncthreads();  // the round before has read the tiles
    load_tile<kDims>(left, first, layout,
                     [&](int row, int d, T value) { tiles.left[d][row] = value; });
    load_tile<kDims>(right, first, layout,
                     [&](int row, int d, T value) { tiles.right[d][row] = value; });
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDims; ++d) {
      T a[kPerThread<T>];
      T b[kPerThread<T>];
#pragma unroll
      for (int i = 0; i < kPerThread<T>; ++i) {
        a[i] = tiles.left[d][kSide * i + left_lane()];
        b[i] = tiles.right[d][kSide * i + right_lane()];
      }
#pragma unroll
      for (int i = 0; i < kPerThread<T>; ++i) {
#pragma unroll
        for (int j = 0; j < kPerThread<T>; ++j) products.at[i][j] += a[i] * b[j];
      }
    }
  }
  return products;
}

// Sum or maximum over the kSide threads that share left_lane(), which are half a warp.
template <typename T>
__device__ __forceinline__ T sum_over_right(T value) {
  return warp_sum<kSide>(value);
}
template <typename T>
__device__ __forceinline__ T max_over_right(T value) {
  return warp_max<kSide>(value);
}

// The tiles of a call, in device memory for as long as this object lives.
template <typename Storage>
class TilePlan {
 public:
  TilePlan(const AttentionShape<Storage>& shape, Stream stream,
           int rows_per_tile = kTile<accumulation_t<Storage>>)
      : scratch_(Scratch::bytes_of<Sequence>(shape.num_sequences) +
                     2 * Scratch::bytes_of<std::int32_t>(shape.num_sequences + 1),
                 stream) {
    std::vector<Sequence> sequences;
    std::vector<std::int32_t> first_query_tile{0};
    std::vector<std::int32_t> first_key_tile{0};
    const auto add = [&](std::vector<std::int32_t>& first, std::int64_t num_rows) {
      const std::int64_t next = first.back() + std::int64_t{num_blocks(num_rows, rows_per_tile)};
      first.push_back(static_cast<std::int32_t>(num_blocks(next, 1)));  // throws when too many
    };
    for (std::int64_t b = 0; b < shape.num_sequences; ++b) {
      const std::int64_t query_begin = shape.query_offset_B1[b];
      const KeySpan span = shape.key_span_B[b];
      sequences.push_back({query_begin, shape.query_offset_B1[b + 1] - query_begin, span.begin,
                           span.end - span.begin, shape.causal});
      add(first_query_tile, sequences.back().num_queries);
      add(first_key_tile, sequences.back().num_keys);
    }
    num_query_tiles_ = static_cast<unsigned>(first_query_tile.back());
    num_key_tiles_ = static_cast<unsigned>(first_key_tile.back());
    const auto copy = [&]<typename T>(const std::vector<T>& values) -> const T* {
      T* device = scratch_.take<T>(std::ssize(values));
      upload(device, values.data(), values.size() * sizeof(T), stream);
      return device;
    };
    tiles_ = {shape.num_sequences, copy(sequences), copy(first_query_tile), copy(first_key_tile)};
  }

  [[nodiscard]] const SequenceTiles& tiles() const { return tiles_; }
  [[nodiscard]] unsigned num_query_tiles() const { return num_query_tiles_; }
  [[nodiscard]] unsigned num_key_tiles() const { return num_key_tiles_; }

 private:
  Scratch scratch_;
  SequenceTiles tiles_{};
  unsigned num_query_tiles_ = 0;
  unsigned num_key_tiles_ = 0;
};

// By the mask: a sum of exponentials is 0 also where all scores are -Inf.
template <typename Storage, typename Sequence>
__device__ bool sees_any_key(const AttentionShape<Storage>& shape, const Sequence& sequence,
                             std::int64_t query) {
  for (std::int64_t key = 0; key < sequence.visible(query); ++key) {
    if (is_valid(shape, sequence.key_begin + key)) return true;
  }
  return false;
}

}  // namespace switchyard::kernels::cuda
