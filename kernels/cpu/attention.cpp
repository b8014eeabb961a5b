#include "switchyard/kernels/attention.h"

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

template <typename T>
constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

// The running softmax of one query over tiles of keys.
template <typename T>
struct OnlineSoftmax {
  T max = kMinusInfinity<T>;
  T sum = T{0};

  // Turns `visible` scores into exp(score - max) with the maximum so far, zeros up to `width`.
  // Returns what earlier results of this query must be multiplied by. A score that is not a number
  // makes the sum so, wherever it stands; what the mask hides is not looked at.
  [[gnu::always_inline]] T add(T* scores, const T* mask, std::int64_t visible, std::int64_t width) {
    T largest = max;
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < visible; ++i) {
      scores[i] = mask[i] == T{0} ? scores[i] : kMinusInfinity<T>;
      largest = scores[i] > largest ? scores[i] : largest;
    }
    const std::int64_t used = largest == kMinusInfinity<T> ? 0 : visible;
    T total = T{0};
    for (std::int64_t i = used; i < visible; ++i) {  // a maximum passes over what is no number
      if (std::isnan(scores[i])) total = scores[i];
    }
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < used; ++i) {
      scores[i] = exponential(scores[i] - largest);
      total += scores[i];
    }
    for (std::int64_t i = used; i < width; ++i) scores[i] = T{0};
    const T factor = max == largest ? T{1} : exponential(max - largest);
    sum = sum * factor + total;
    max = largest;
    return factor;
  }
};

template <typename T>
[[gnu::always_inline]] inline bool all_finite(const T* values, std::int64_t count) {
  T zero = T{0};  // NaN as soon as one is not
#pragma omp simd reduction(+ : zero)
  for (std::int64_t i = 0; i < count; ++i) zero += values[i] * T{0};
  return zero == T{0};
}

// out += weights * values without a look at values that the mask or a weight's place hides: 0 * NaN
// would reach the query.
template <typename T>
void add_seen_values(const T* weights, const T* mask, std::int64_t visible, const T* value_SD,
                     std::int64_t cols, T* out) {
  for (std::int64_t i = 0; i < visible; ++i) {
    if (mask[i] != T{0}) continue;
    for (std::int64_t d = 0; d < cols; ++d) out[d] += weights[i] * value_SD[i * cols + d];
  }
}

template <typename T>
bool sees_any(const T* mask, std::int64_t visible) {
  return std::any_of(mask, mask + visible, [](T hides) { return hides == T{0}; });
}

template <int kBytes, typename Storage>
[[gnu::always_inline]] inline void forward_unit(const AttentionParams<Storage>& params,
                                                const AttentionUnit& unit) {
  using T = accumulation_t<Storage>;
  const AttentionShape<Storage>& shape = params.shape;
  const SequenceView sequence = sequence_view(shape, unit.sequence);
  const std::int64_t group = unit.head / (shape.num_heads / shape.num_groups);
  const std::int64_t head_dim = shape.head_dim;
  const std::int64_t cols = round_to_lanes<T>(head_dim);
  const std::int64_t num_keys = sequence.visible(unit.end - 1);
  const std::int64_t width = round_to_lanes<T>(num_keys);

  Scratch<T>& scratch = Scratch<T>::of_thread();
  scratch.reserve(head_dim * width + num_keys * cols + width + kQueryTile * (2 * cols + kKeyTile));
  T* key_DS = scratch.take(head_dim * width);
  T* value_SD = scratch.take(num_keys * cols);
  T* mask = scratch.take(width);
  T* query = scratch.take(kQueryTile * cols);
  T* out = scratch.take(kQueryTile * cols);
  T* scores = scratch.take(kQueryTile * kKeyTile);

  // The values' place serves the keys first, on their way to be transposed.
  pack_rows(shape.k, group, sequence.key_begin, num_keys, head_dim, cols, T{1}, value_SD);
  transpose_rows(value_SD, num_keys, head_dim, cols, width, key_DS);
  pack_rows(params.v, group, sequence.key_begin, num_keys, head_dim, cols, T{1}, value_SD);
  pack_mask(shape.key_valid, sequence.key_begin, num_keys, width, mask);
  const bool values_are_finite = all_finite(value_SD, num_keys * cols);

  for (std::int64_t begin = unit.begin; begin < unit.end; begin += kQueryTile) {
    const std::int64_t rows = std::min(kQueryTile, unit.end - begin);
    pack_rows(shape.q, unit.head, sequence.query_begin + begin, rows, head_dim, cols,
              static_cast<T>(shape.scale), query);
    std::fill(out, out + rows * cols, T{0});
    OnlineSoftmax<T> softmax[kQueryTile];
    const std::int64_t limit = sequence.visible(begin + rows - 1);
    for (std::int64_t key = 0; key < limit; key += kKeyTile) {
      const std::int64_t keys = std::min(kKeyTile, limit - key);
      const std::int64_t padded = round_to_lanes<T>(keys);
      matmul_tile<false, kBytes>(TileView<T>{query, cols}, key_DS + key, width, scores, kKeyTile,
                                 {rows, padded, head_dim});
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t visible =
            std::clamp<std::int64_t>(sequence.visible(begin + row) - key, 0, keys);
        const T factor = softmax[row].add(scores + row * kKeyTile, mask + key, visible, padded);
        if (factor != T{1}) {
          for (std::int64_t d = 0; d < cols; ++d) out[row * cols + d] *= factor;
        }
        if (!values_are_finite) {
          add_seen_values(scores + row * kKeyTile, mask + key, visible, value_SD + key * cols, cols,
                          out + row * cols);
        }
      }
      if (!values_are_finite) continue;
      matmul_tile<true, kBytes>(TileView<T>{scores, kKeyTile}, value_SD + key * cols, cols, out,
                                cols, {rows, cols, keys});
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t token = sequence.query_begin + begin + row;
      const T sum = softmax[row].sum;
      const bool sees_nothing = sum == T{0} && !sees_any(mask, sequence.visible(begin + row));
      const T factor = sees_nothing ? T{0} : T{1} / sum;
      Storage* to =
          params.out.data + token * params.out.token_stride + unit.head * params.out.head_stride;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        to[d] = store<Storage>(out[row * cols + d] * factor);
      }
      params.lse_AT[unit.head * shape.num_queries + token] =
          sees_nothing ? T{0} : softmax[row].max + std::log(sum);
    }
  }
}

template <typename T>
struct BackwardBuffers {
  T* key_SD;
  T* key_DS;
  T* value_DS;
  T* mask;
  T* dkey_SD;
  T* dvalue_SD;
  T* query;
  T* dout;
  T* dquery;
  T* probs;
  T* dscores;
};

template <typename T>
BackwardBuffers<T> take_buffers(std::int64_t num_keys, std::int64_t width, std::int64_t head_dim,
                                std::int64_t cols) {
  Scratch<T>& scratch = Scratch<T>::of_thread();
  scratch.reserve(3 * num_keys * cols + 2 * head_dim * width + width +
                  kQueryTile * (3 * cols + 2 * kKeyTile));
  BackwardBuffers<T> buffers{};
  buffers.key_SD = scratch.take(num_keys * cols);
  buffers.dkey_SD = scratch.take(num_keys * cols);
  buffers.dvalue_SD = scratch.take(num_keys * cols);
  buffers.key_DS = scratch.take(head_dim * width);
  buffers.value_DS = scratch.take(head_dim * width);
  buffers.mask = scratch.take(width);
  buffers.query = scratch.take(kQueryTile * cols);
  buffers.dout = scratch.take(kQueryTile * cols);
  buffers.dquery = scratch.take(kQueryTile * cols);
  buffers.probs = scratch.take(kQueryTile * kKeyTile);
  buffers.dscores = scratch.take(kQueryTile * kKeyTile);
  return buffers;
}

template <typename Storage, typename T>
[[gnu::always_inline]] inline void unpack_rows(const T* in, std::int64_t count,
                                               std::int64_t head_dim, std::int64_t cols, T factor,
                                               const HeadRows<Storage>& rows, std::int64_t head,
                                               std::int64_t begin) {
  for (std::int64_t row = 0; row < count; ++row) {
    Storage* to = rows.data + (begin + row) * rows.token_stride + head * rows.head_stride;
    for (std::int64_t d = 0; d < head_dim; ++d) to[d] = store<Storage>(in[row * cols + d] * factor);
  }
}

// scores -> probabilities P; dprobs -> P * (dprobs - delta), the gradient of the scores.
template <typename T>
[[gnu::always_inline]] inline void backward_row(T* scores, T* dprobs, const T* mask, T lse, T delta,
                                                std::int64_t visible, std::int64_t width) {
#pragma omp simd
  for (std::int64_t i = 0; i < visible; ++i) {
    const bool sees = mask[i] == T{0};
    const T prob = sees ? exponential(scores[i] - lse) : T{0};
    scores[i] = prob;
    dprobs[i] = sees ? prob * (dprobs[i] - delta) : T{0};
  }
  for (std::int64_t i = visible; i < width; ++i) {
    scores[i] = T{0};
    dprobs[i] = T{0};
  }
}

// One sequence and key/value head: the gradients of k and v sum over the query heads that share
// them, so one thread does all of those, in order.
template <int kBytes, typename Storage>
[[gnu::always_inline]] inline void backward_unit(const AttentionBackwardParams<Storage>& params,
                                                 std::int64_t sequence_idx, std::int64_t group) {
  using T = accumulation_t<Storage>;
  const AttentionShape<Storage>& shape = params.shape;
  const SequenceView sequence = sequence_view(shape, sequence_idx);
  const std::int64_t heads_per_group = shape.num_heads / shape.num_groups;
  const std::int64_t head_dim = shape.head_dim;
  const std::int64_t cols = round_to_lanes<T>(head_dim);
  const std::int64_t num_keys = sequence.num_keys;
  const std::int64_t width = round_to_lanes<T>(num_keys);
  const BackwardBuffers<T> buffers = take_buffers<T>(num_keys, width, head_dim, cols);

  // The gradient of v is only written at the end: until then its place takes v to be transposed.
  pack_rows(params.v, group, sequence.key_begin, num_keys, head_dim, cols, T{1}, buffers.dvalue_SD);
  transpose_rows(buffers.dvalue_SD, num_keys, head_dim, cols, width, buffers.value_DS);
  pack_rows(shape.k, group, sequence.key_begin, num_keys, head_dim, cols, T{1}, buffers.key_SD);
  transpose_rows(buffers.key_SD, num_keys, head_dim, cols, width, buffers.key_DS);
  pack_mask(shape.key_valid, sequence.key_begin, num_keys, width, buffers.mask);
  std::fill(buffers.dkey_SD, buffers.dkey_SD + num_keys * cols, T{0});
  std::fill(buffers.dvalue_SD, buffers.dvalue_SD + num_keys * cols, T{0});

  const auto scale = static_cast<T>(shape.scale);
  for (std::int64_t head = group * heads_per_group; head < (group + 1) * heads_per_group; ++head) {
    for (std::int64_t begin = 0; begin < sequence.num_queries; begin += kQueryTile) {
      const std::int64_t rows = std::min(kQueryTile, sequence.num_queries - begin);
      const std::int64_t first = sequence.query_begin + begin;
      const T* lse = params.lse_AT + head * shape.num_queries + first;
      // delta_i = <dout_i, out_i>; the place of dquery takes `out` for that.
      T delta[kQueryTile];
      pack_rows(params.dout, head, first, rows, head_dim, cols, T{1}, buffers.dout);
      pack_rows(params.out, head, first, rows, head_dim, cols, T{1}, buffers.dquery);
      for (std::int64_t row = 0; row < rows; ++row) {
        T dot = T{0};
#pragma omp simd reduction(+ : dot)
        for (std::int64_t d = 0; d < cols; ++d) {
          dot += buffers.dout[row * cols + d] * buffers.dquery[row * cols + d];
        }
        delta[row] = dot;
      }
      // Scaled queries give scaled scores, and the right gradient of k without another factor.
      pack_rows(shape.q, head, first, rows, head_dim, cols, scale, buffers.query);
      std::fill(buffers.dquery, buffers.dquery + rows * cols, T{0});
      const std::int64_t limit = sequence.visible(begin + rows - 1);
      for (std::int64_t key = 0; key < limit; key += kKeyTile) {
        const std::int64_t keys = std::min(kKeyTile, limit - key);
        const std::int64_t padded = round_to_lanes<T>(keys);
        matmul_tile<false, kBytes>(TileView<T>{buffers.query, cols}, buffers.key_DS + key, width,
                                   buffers.probs, kKeyTile, {rows, padded, head_dim});
        matmul_tile<false, kBytes>(TileView<T>{buffers.dout, cols}, buffers.value_DS + key, width,
                                   buffers.dscores, kKeyTile, {rows, padded, head_dim});
        for (std::int64_t row = 0; row < rows; ++row) {
          const std::int64_t visible =
              std::clamp<std::int64_t>(sequence.visible(begin + row) - key, 0, keys);
          backward_row(buffers.probs + row * kKeyTile, buffers.dscores + row * kKeyTile,
                       buffers.mask + key, lse[row], delta[row], visible, padded);
        }
        matmul_tile<true, kBytes>(TileView<T>{buffers.probs, 1, kKeyTile}, buffers.dout, cols,
                                  buffers.dvalue_SD + key * cols, cols, {keys, cols, rows});
        matmul_tile<true, kBytes>(TileView<T>{buffers.dscores, 1, kKeyTile}, buffers.query, cols,
                                  buffers.dkey_SD + key * cols, cols, {keys, cols, rows});
        matmul_tile<true, kBytes>(TileView<T>{buffers.dscores, kKeyTile},
                                  buffers.key_SD + key * cols, cols, buffers.dquery, cols,
                                  {rows, cols, keys});
      }
      unpack_rows(buffers.dquery, rows, head_dim, cols, scale, params.dq, head, first);
    }
  }
  unpack_rows(buffers.dkey_SD, num_keys, head_dim, cols, T{1}, params.dk, group,
              sequence.key_begin);
  unpack_rows(buffers.dvalue_SD, num_keys, head_dim, cols, T{1}, params.dv, group,
              sequence.key_begin);
}

template <typename Storage>
SWITCHYARD_SIMD_CLONES_512 void forward_unit_512(const AttentionParams<Storage>& params,
                                                 const AttentionUnit& unit) {
  forward_unit<64>(params, unit);
}
template <typename Storage>
SWITCHYARD_SIMD_CLONES_256 void forward_unit_256(const AttentionParams<Storage>& params,
                                                 const AttentionUnit& unit) {
  forward_unit<kVectorBytes>(params, unit);
}
template <typename Storage>
SWITCHYARD_SIMD_CLONES_512 void backward_unit_512(const AttentionBackwardParams<Storage>& params,
                                                  std::int64_t sequence_idx, std::int64_t group) {
  backward_unit<64>(params, sequence_idx, group);
}
template <typename Storage>
SWITCHYARD_SIMD_CLONES_256 void backward_unit_256(const AttentionBackwardParams<Storage>& params,
                                                  std::int64_t sequence_idx, std::int64_t group) {
  backward_unit<kVectorBytes>(params, sequence_idx, group);
}

template <typename Storage>
void forward(const AttentionParams<Storage>& params) {
  const AttentionShape<Storage>& shape = params.shape;
  std::vector<AttentionUnit> units;
  for (std::int64_t b = 0; b < shape.num_sequences; ++b) {
    const std::int64_t num_queries = shape.query_offset_B1[b + 1] - shape.query_offset_B1[b];
    for (std::int64_t head = 0; head < shape.num_heads; ++head) {
      for (std::int64_t begin = 0; begin < num_queries; begin += kQueryChunk) {
        units.push_back({b, head, begin, std::min(num_queries, begin + kQueryChunk)});
      }
    }
  }
  const auto unit = have_512_bits() ? forward_unit_512<Storage> : forward_unit_256<Storage>;
  parallel_for(std::ssize(units), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) unit(params, units[static_cast<std::size_t>(i)]);
  });
}

template <typename Storage>
void backward(const AttentionBackwardParams<Storage>& params) {
  const std::int64_t num_groups = params.shape.num_groups;
  const auto unit = have_512_bits() ? backward_unit_512<Storage> : backward_unit_256<Storage>;
  parallel_for(params.shape.num_sequences * num_groups, 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   unit(params, i / num_groups, i % num_groups);
                 }
               });
}

}  // namespace

void attention(const AttentionParams<float>& params) {
  forward(params);
}
void attention(const AttentionParams<double>& params) {
  forward(params);
}
void attention(const AttentionParams<BFloat16>& params) {
  forward(params);
}
void attention_backward(const AttentionBackwardParams<float>& params) {
  backward(params);
}
void attention_backward(const AttentionBackwardParams<double>& params) {
  backward(params);
}
void attention_backward(const AttentionBackwardParams<BFloat16>& params) {
  backward(params);
}

}  // namespace switchyard::kernels::cpu
