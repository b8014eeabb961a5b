// A second pass over the attention scores, tile by tile; no [S, S] matrix exists. Here on ordinary
// cores, for what attention_importance_tensor.cuh does not take: one block owns a tile of keys
// (received, its peak) or of queries (peak, entropy) of a sequence and walks over heads and the
// other side's tiles; sums stay in registers, in a fixed order, without atomics.
#include "switchyard/kernels/attention_importance.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuda/attention_importance_tensor.cuh"
#include "cuda/attention_tile.cuh"

namespace switchyard::kernels::cuda {
namespace {

// The row of k that a query owns.
__device__ std::int64_t own_key(const Sequence& sequence, std::int64_t query) {
  return sequence.key_begin + sequence.first_own_key() + query;
}

// Attention that the block's keys receive from the valid queries of all heads: on average over
// queries, or the largest of each head.
template <bool kPeak, typename Storage>
__global__ void __launch_bounds__(kTileThreads)
    received(AttentionImportanceParams<Storage> params, SequenceTiles sequences,
             HeadLayout layout) {
  using T = accumulation_t<Storage>;
  __shared__ PairOfTiles<T> tiles;
  __shared__ T of_thread[kSide][kTile<T>];
  __shared__ std::int32_t count_of_warp[kTileThreads / kWarpSize];
  const AttentionShape<Storage>& shape = params.shape;
  const auto [sequence, key_begin, num_keys] = own_keys<T>(sequences);

  T sums[kPerThread<T>] = {};
  T total = 0;  // of the key that is this thread's in the end
  for (std::int64_t head = 0; head < shape.num_heads; ++head) {
    const TileRows<Storage> keys{shape.k, head / (shape.num_heads / shape.num_groups),
                                 sequence.key_begin + key_begin, num_keys};
    T largest[kPerThread<T>];  // log of it
    if constexpr (kPeak) {
#pragma unroll
      for (int j = 0; j < kPerThread<T>; ++j) largest[j] = -std::numeric_limits<T>::infinity();
    }
    for (std::int64_t begin = 0; begin < sequence.num_queries; begin += kTile<T>) {
      const TileRows<Storage> queries{
          shape.q, head, sequence.query_begin + begin,
          std::min<std::int64_t>(kTile<T>, sequence.num_queries - begin),
          static_cast<T>(shape.scale)};
      const Products<T> scores = row_products(queries, keys, layout, tiles);
#pragma unroll
      for (int i = 0; i < kPerThread<T>; ++i) {
        const std::int64_t query = kSide * i + left_lane();
        if (query >= queries.count || !is_valid(shape, own_key(sequence, begin + query))) continue;
        const T lse = params.lse_AT[head * shape.num_queries + queries.begin + query];
#pragma unroll
        for (int j = 0; j < kPerThread<T>; ++j) {
          const T log_probability = scores.at[i][j] - lse;
          if constexpr (kPeak) {
            largest[j] = log_probability > largest[j] ? log_probability : largest[j];
          } else {
            sums[j] += std::exp(log_probability);
          }
        }
      }
    }
    if constexpr (kPeak) {
      __syncthreads();  // the head before has been read
      for (int j = 0; j < kPerThread<T>; ++j) {
        of_thread[left_lane()][kSide * j + right_lane()] = largest[j];
      }
      __syncthreads();
      if (threadIdx.x < num_keys) {
        T most = of_thread[0][threadIdx.x];
        for (int i = 1; i < kSide; ++i) {
          const T other = of_thread[i][threadIdx.x];
          most = other > most ? other : most;
        }
        total += std::exp(most);
      }
    }
  }
  if constexpr (!kPeak) {
    for (int j = 0; j < kPerThread<T>; ++j) {
      of_thread[left_lane()][kSide * j + right_lane()] = sums[j];
    }
  }
  std::int32_t num_valid = 0;
  for (std::int64_t query = threadIdx.x; query < sequence.num_queries; query += kTileThreads) {
    num_valid += is_valid(shape, own_key(sequence, query)) ? 1 : 0;
  }
  num_valid = block_sum<kTileThreads>(num_valid, count_of_warp);  // also a barrier for the sums
  if (threadIdx.x >= num_keys) return;
  if constexpr (!kPeak) {
    for (int i = 0; i < kSide; ++i) total += of_thread[i][threadIdx.x];
  }
  const std::int32_t num_queries = kPeak || num_valid < 1 ? 1 : num_valid;
  const T divisor = static_cast<T>(shape.num_heads) * static_cast<T>(num_queries);
  const std::int64_t key = key_begin + threadIdx.x;
  params.importance_T[sequence.query_begin + key] =
      is_valid(shape, sequence.key_begin + key) ? total / divisor : T{0};
}

// Peak or entropy of the block's queries over the keys each of them sees.
template <bool kPeak, typename Storage>
__global__ void __launch_bounds__(kTileThreads)
    along_rows(AttentionImportanceParams<Storage> params, SequenceTiles sequences,
               HeadLayout layout) {
  using T = accumulation_t<Storage>;
  __shared__ PairOfTiles<T> tiles;
  const AttentionShape<Storage>& shape = params.shape;
  const auto [sequence, query_begin, num_queries] = own_queries<T>(sequences);
  const std::int64_t limit = sequence.visible(query_begin + num_queries - 1);

  T totals[kPerThread<T>] = {};               // over heads
  std::int32_t num_seen[kPerThread<T>] = {};  // valid keys, of this thread's columns
  for (std::int64_t head = 0; head < shape.num_heads; ++head) {
    const TileRows<Storage> queries{shape.q, head, sequence.query_begin + query_begin, num_queries,
                                    static_cast<T>(shape.scale)};
    T values[kPerThread<T>];
    T lse[kPerThread<T>] = {};
#pragma unroll
    for (int i = 0; i < kPerThread<T>; ++i) {
      values[i] = kPeak ? -std::numeric_limits<T>::infinity() : T{0};
      const std::int64_t query = kSide * i + left_lane();
      if (query < num_queries) {
        lse[i] = params.lse_AT[head * shape.num_queries + queries.begin + query];
      }
    }
    for (std::int64_t begin = 0; begin < limit; begin += kTile<T>) {
      const TileRows<Storage> keys{shape.k, head / (shape.num_heads / shape.num_groups),
                                   sequence.key_begin + begin,
                                   std::min<std::int64_t>(kTile<T>, limit - begin)};
      const Products<T> scores = row_products(queries, keys, layout, tiles);
#pragma unroll
      for (int j = 0; j < kPerThread<T>; ++j) {
        const std::int64_t key = kSide * j + right_lane();
        if (key >= keys.count || !is_valid(shape, keys.begin + key)) continue;
#pragma unroll
        for (int i = 0; i < kPerThread<T>; ++i) {
          const std::int64_t query = kSide * i + left_lane();
          if (query >= num_queries || begin + key >= sequence.visible(query_begin + query)) {
            continue;
          }
          if (head == 0) ++num_seen[i];
          const T score = scores.at[i][j];
          if constexpr (kPeak) {
            values[i] = score > values[i] ? score : values[i];
          } else {
            // log P = score - lse: written so because lse - sum P score would cancel.
            values[i] += std::exp(score - lse[i]) * (lse[i] - score);
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kPerThread<T>; ++i) {
      totals[i] += kPeak ? std::exp(max_over_right(values[i]) - lse[i]) : sum_over_right(values[i]);
    }
  }
  for (int i = 0; i < kPerThread<T>; ++i) {
    const std::int32_t count = sum_over_right(num_seen[i]);
    const std::int64_t query = kSide * i + left_lane();
    if (right_lane() != 0 || query >= num_queries) continue;
    const T mean = totals[i] / static_cast<T>(shape.num_heads);
    T value = kPeak ? mean : mean / std::log(static_cast<T>(count));
    if (count == 1) value = T{1};  // one visible key: log(1) says nothing
    const bool valid = is_valid(shape, own_key(sequence, query_begin + query));
    params.importance_T[sequence.query_begin + query_begin + query] = valid ? value : T{0};
  }
}

template <typename Storage>
void run(const AttentionImportanceParams<Storage>& params, Stream stream) {
  const AttentionShape<Storage>& shape = params.shape;
  if constexpr (std::is_same_v<Storage, BFloat16>) {
    if (takes_tensor_cores(shape)) return run_on_tensor_cores(params, stream);
  }
  const TilePlan<Storage> plan(shape, stream);
  const HeadLayout layout = head_layout<Storage>(shape.head_dim, shape.q, shape.k);
  if (is_received(params.statistic)) {
    const bool is_received_peak = params.statistic == AttentionStatistic::received_peak;
    const auto kernel = is_received_peak ? received<true, Storage> : received<false, Storage>;
    launch(kernel, plan.num_key_tiles(), kTileThreads, 0, stream, params, plan.tiles(), layout);
    return;
  }
  const auto kernel = params.statistic == AttentionStatistic::peak ? along_rows<true, Storage>
                                                                   : along_rows<false, Storage>;
  launch(kernel, plan.num_query_tiles(), kTileThreads, 0, stream, params, plan.tiles(), layout);
}

}  // namespace

void attention_importance(const AttentionImportanceParams<float>& params, Stream stream) {
  run(params, stream);
}
void attention_importance(const AttentionImportanceParams<double>& params, Stream stream) {
  run(params, stream);
}
void attention_importance(const AttentionImportanceParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
