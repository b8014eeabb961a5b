#include "switchyard/kernels/attention_importance.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/attention_tile.h"
#include "cpu/tile_matmul.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/exp.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

// The row of k that query `query` of the sequence owns: queries are the last of the keys.
[[gnu::always_inline]] inline std::int64_t own_key(const SequenceView& sequence,
                                                   std::int64_t query) {
  return sequence.key_begin + sequence.num_keys - sequence.num_queries + query;
}

template <typename T>
[[gnu::always_inline]] inline T largest_score(const T* scores, const T* mask,
                                              std::int64_t visible) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < visible; ++i) {
    const T score = scores[i] + mask[i];
    largest = score > largest ? score : largest;
  }
  return largest;
}

template <typename T>
[[gnu::always_inline]] inline void raise_to_largest(const T* scores, const T* mask, T lse,
                                                    std::int64_t keys, T* largest) {
#pragma omp simd
  for (std::int64_t i = 0; i < keys; ++i) {
    const T log_probability = scores[i] + mask[i] - lse;
    largest[i] = log_probability > largest[i] ? log_probability : largest[i];
  }
}

template <typename T>
[[gnu::always_inline]] inline void add_probabilities(const T* scores, const T* mask, T lse,
                                                     std::int64_t keys, T* sum) {
#pragma omp simd
  for (std::int64_t i = 0; i < keys; ++i) sum[i] += exponential(scores[i] + mask[i] - lse);
}

// sum of -P log P with log P = score - lse: written so because lse - sum P score would cancel.
template <typename T>
[[gnu::always_inline]] inline T entropy_sum(const T* scores, const T* mask, T lse,
                                            std::int64_t visible) {
  T entropy = T{0};
#pragma omp simd reduction(+ : entropy)
  for (std::int64_t i = 0; i < visible; ++i) {
    entropy += exponential(scores[i] + mask[i] - lse) * (lse - scores[i]);
  }
  return entropy;
}

// Peak or entropy of the queries of one unit, all heads: each row reads only keys it sees.
template <int kBytes, typename Storage>
[[gnu::always_inline]] inline void row_unit(const AttentionImportanceParams<Storage>& params,
                                            const AttentionUnit& unit) {
  using T = accumulation_t<Storage>;
  const AttentionShape<Storage>& shape = params.shape;
  const SequenceView sequence = sequence_view(shape, unit.sequence);
  const bool peak = params.statistic == AttentionStatistic::peak;
  const std::int64_t heads_per_group = shape.num_heads / shape.num_groups;
  const std::int64_t head_dim = shape.head_dim;
  const std::int64_t cols = round_to_lanes<T>(head_dim);
  const std::int64_t num_keys = sequence.visible(unit.end - 1);
  const std::int64_t width = round_to_lanes<T>(num_keys);
  const std::int64_t num_rows = unit.end - unit.begin;

  Scratch<T>& scratch = Scratch<T>::of_thread();
  scratch.reserve(head_dim * width + num_keys * cols + 2 * width + 2 * num_rows +
                  kQueryTile * (cols + kKeyTile));
  T* key_DS = scratch.take(head_dim * width);
  T* key_SD = scratch.take(num_keys * cols);
  T* mask = scratch.take(width);
  T* num_visible = scratch.take(width);  // valid keys among the first i + 1
  T* total = scratch.take(num_rows);     // over heads
  T* row_value = scratch.take(num_rows);
  T* query = scratch.take(kQueryTile * cols);
  T* scores = scratch.take(kQueryTile * kKeyTile);

  pack_mask(shape.key_valid, sequence.key_begin, num_keys, width, mask);
  T seen = T{0};
  for (std::int64_t i = 0; i < num_keys; ++i) {
    seen += mask[i] == T{0} ? T{1} : T{0};
    num_visible[i] = seen;
  }
  std::fill(total, total + num_rows, T{0});

  for (std::int64_t head = 0; head < shape.num_heads; ++head) {
    if (head % heads_per_group == 0) {
      pack_rows(shape.k, head / heads_per_group, sequence.key_begin, num_keys, head_dim, cols, T{1},
                key_SD);
      transpose_rows(key_SD, num_keys, head_dim, cols, width, key_DS);
    }
    std::fill(row_value, row_value + num_rows, peak ? -std::numeric_limits<T>::infinity() : T{0});
    for (std::int64_t begin = unit.begin; begin < unit.end; begin += kQueryTile) {
      const std::int64_t rows = std::min(kQueryTile, unit.end - begin);
      const std::int64_t first = sequence.query_begin + begin;
      const T* lse = params.lse_AT + head * shape.num_queries + first;
      pack_rows(shape.q, head, first, rows, head_dim, cols, static_cast<T>(shape.scale), query);
      const std::int64_t limit = sequence.visible(begin + rows - 1);
      for (std::int64_t key = 0; key < limit; key += kKeyTile) {
        const std::int64_t keys = std::min(kKeyTile, limit - key);
        matmul_tile<false, kBytes>(TileView<T>{query, cols}, key_DS + key, width, scores, kKeyTile,
                                   {rows, round_to_lanes<T>(keys), head_dim});
        for (std::int64_t row = 0; row < rows; ++row) {
          const std::int64_t visible =
              std::clamp<std::int64_t>(sequence.visible(begin + row) - key, 0, keys);
          T& value = row_value[begin - unit.begin + row];
          const T* row_scores = scores + row * kKeyTile;
          if (peak) {
            value = std::max(value, largest_score(row_scores, mask + key, visible));
          } else {
            value += entropy_sum(row_scores, mask + key, lse[row], visible);
          }
        }
      }
    }
    const T* lse = params.lse_AT + head * shape.num_queries + sequence.query_begin + unit.begin;
    for (std::int64_t row = 0; row < num_rows; ++row) {
      total[row] += peak ? exponential(row_value[row] - lse[row]) : row_value[row];
    }
  }

  for (std::int64_t row = 0; row < num_rows; ++row) {
    const std::int64_t query_idx = unit.begin + row;
    const T count = num_visible[sequence.visible(query_idx) - 1];
    const T mean = total[row] / static_cast<T>(shape.num_heads);
    T value = peak ? mean : mean / std::log(count);
    if (count == T{1}) value = T{1};  // one visible key: log(1) says nothing
    const bool valid = shape.key_valid == nullptr || shape.key_valid[own_key(sequence, query_idx)];
    params.importance_T[sequence.query_begin + query_idx] = valid ? value : T{0};
  }
}

// Attention that the keys of one unit receive from the valid queries of all heads: on average over
// queries, or the largest of each head.
template <int kBytes, typename Storage>
[[gnu::always_inline]] inline void received_unit(const AttentionImportanceParams<Storage>& params,
                                                 const AttentionUnit& unit) {
  using T = accumulation_t<Storage>;
  const AttentionShape<Storage>& shape = params.shape;
  const SequenceView sequence = sequence_view(shape, unit.sequence);
  const bool peak = params.statistic == AttentionStatistic::received_peak;
  const std::int64_t heads_per_group = shape.num_heads / shape.num_groups;
  const std::int64_t head_dim = shape.head_dim;
  const std::int64_t cols = round_to_lanes<T>(head_dim);
  const std::int64_t keys = unit.end - unit.begin;
  const std::int64_t width = round_to_lanes<T>(keys);

  Scratch<T>& scratch = Scratch<T>::of_thread();
  scratch.reserve(head_dim * width + keys * cols + 3 * width + kQueryTile * (cols + kKeyTile));
  T* key_DS = scratch.take(head_dim * width);
  T* key_SD = scratch.take(keys * cols);
  T* mask = scratch.take(width);
  T* received = scratch.take(width);
  T* largest = scratch.take(width);  // log of it, of one head
  T* query = scratch.take(kQueryTile * cols);
  T* scores = scratch.take(kQueryTile * kKeyTile);

  pack_mask(shape.key_valid, sequence.key_begin + unit.begin, keys, width, mask);
  std::fill(received, received + width, T{0});
  for (std::int64_t head = 0; head < shape.num_heads; ++head) {
    if (head % heads_per_group == 0) {
      pack_rows(shape.k, head / heads_per_group, sequence.key_begin + unit.begin, keys, head_dim,
                cols, T{1}, key_SD);
      transpose_rows(key_SD, keys, head_dim, cols, width, key_DS);
    }
    std::fill(largest, largest + width, -std::numeric_limits<T>::infinity());
    for (std::int64_t begin = 0; begin < sequence.num_queries; begin += kQueryTile) {
      const std::int64_t rows = std::min(kQueryTile, sequence.num_queries - begin);
      const std::int64_t first = sequence.query_begin + begin;
      pack_rows(shape.q, head, first, rows, head_dim, cols, static_cast<T>(shape.scale), query);
      matmul_tile<false, kBytes>(TileView<T>{query, cols}, key_DS, width, scores, kKeyTile,
                                 {rows, width, head_dim});
      for (std::int64_t row = 0; row < rows; ++row) {
        if (shape.key_valid != nullptr && !shape.key_valid[own_key(sequence, begin + row)]) {
          continue;
        }
        const T lse = params.lse_AT[head * shape.num_queries + first + row];
        const T* row_scores = scores + row * kKeyTile;
        if (peak) {
          raise_to_largest(row_scores, mask, lse, keys, largest);
        } else {
          add_probabilities(row_scores, mask, lse, keys, received);
        }
      }
    }
    if (!peak) continue;
    for (std::int64_t i = 0; i < keys; ++i) received[i] += exponential(largest[i]);
  }

  std::int64_t num_valid = sequence.num_queries;
  if (shape.key_valid != nullptr) {
    const bool* valid = shape.key_valid + own_key(sequence, 0);
    num_valid = std::count(valid, valid + sequence.num_queries, true);
  }
  const T divisor = static_cast<T>(shape.num_heads) *
                    (peak ? T{1} : static_cast<T>(std::max<std::int64_t>(1, num_valid)));
  for (std::int64_t i = 0; i < keys; ++i) {
    params.importance_T[sequence.query_begin + unit.begin + i] = received[i] / divisor;
  }
}

[[nodiscard]] bool is_received(AttentionStatistic statistic) {
  return statistic == AttentionStatistic::received ||
         statistic == AttentionStatistic::received_peak;
}

template <typename Storage>
SWITCHYARD_SIMD_CLONES_512 void unit_512(const AttentionImportanceParams<Storage>& params,
                                         const AttentionUnit& unit) {
  if (is_received(params.statistic)) return received_unit<64>(params, unit);
  row_unit<64>(params, unit);
}
template <typename Storage>
SWITCHYARD_SIMD_CLONES_256 void unit_256(const AttentionImportanceParams<Storage>& params,
                                         const AttentionUnit& unit) {
  if (is_received(params.statistic)) return received_unit<kVectorBytes>(params, unit);
  row_unit<kVectorBytes>(params, unit);
}

template <typename Storage>
void importance(const AttentionImportanceParams<Storage>& params) {
  const AttentionShape<Storage>& shape = params.shape;
  const std::int64_t chunk = is_received(params.statistic) ? kKeyTile : kQueryChunk;
  std::vector<AttentionUnit> units;
  for (std::int64_t b = 0; b < shape.num_sequences; ++b) {
    const std::int64_t length = shape.query_offset_B1[b + 1] - shape.query_offset_B1[b];
    for (std::int64_t begin = 0; begin < length; begin += chunk) {
      units.push_back({b, 0, begin, std::min(length, begin + chunk)});
    }
  }
  const auto unit = have_512_bits() ? unit_512<Storage> : unit_256<Storage>;
  parallel_for(std::ssize(units), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) unit(params, units[static_cast<std::size_t>(i)]);
  });
}

}  // namespace

void attention_importance(const AttentionImportanceParams<float>& params) {
  importance(params);
}
void attention_importance(const AttentionImportanceParams<double>& params) {
  importance(params);
}
void attention_importance(const AttentionImportanceParams<BFloat16>& params) {
  importance(params);
}

}  // namespace switchyard::kernels::cpu
