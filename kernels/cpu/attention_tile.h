// What every tiled pass over attention scores needs: rows of one head packed in the accumulation
// type, which keys a query sees, and the work cut into units that threads take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/tile_matmul.h"
#include "switchyard/kernels/attention.h"

namespace switchyard::kernels::cpu {

inline constexpr std::int64_t kQueryTile = 48;  // a multiple of the six rows of matmul_tile
inline constexpr std::int64_t kKeyTile = 128;   // a tile of scores fits the first-level cache
// Queries of one unit of work: keys are packed once for all of them.
inline constexpr std::int64_t kQueryChunk = 8 * kQueryTile;

// One sequence as the loops see it; positions are relative to its first query and key.
struct SequenceView {
  std::int64_t query_begin = 0;  // row of q
  std::int64_t num_queries = 0;
  std::int64_t key_begin = 0;  // row of k and v
  std::int64_t num_keys = 0;
  bool causal = true;

  // Query i sees keys [0, visible(i)).
  [[nodiscard]] std::int64_t visible(std::int64_t query) const {
    return causal ? std::min(num_keys, num_keys - num_queries + query + 1) : num_keys;
  }
};

template <typename T>
[[nodiscard]] SequenceView sequence_view(const AttentionShape<T>& shape, std::int64_t sequence) {
  const KeySpan span = shape.key_span_B[sequence];
  const std::int64_t begin = shape.query_offset_B1[sequence];
  return {begin, shape.query_offset_B1[sequence + 1] - begin, span.begin, span.end - span.begin,
          shape.causal};
}

// A chunk of a sequence's queries (or keys), for one head or group.
struct AttentionUnit {
  std::int64_t sequence = 0;
  std::int64_t head = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Memory of one unit, kept by its thread: units are many and their buffers large.
template <typename T>
class Scratch {
 public:
  Scratch() : used_(0) {}
  // Announces how much the unit will take; the pointers of earlier units become invalid.
  void reserve(std::int64_t count) {
    used_ = 0;
    if (std::ssize(memory_) < count) memory_.resize(static_cast<std::size_t>(count));
  }
  [[nodiscard]] T* take(std::int64_t count) {
    T* begin = memory_.data() + used_;
    used_ += count;
    return begin;
  }
  [[nodiscard]] static Scratch& of_thread() {
    thread_local Scratch scratch;
    return scratch;
  }

 private:
  std::vector<T> memory_;
  std::int64_t used_;
};

// rows [begin, begin + count) of a head -> out[count][cols], times `factor`, zeros from head_dim
// on.
template <typename Storage, typename T>
[[gnu::always_inline]] inline void pack_rows(const HeadRows<const Storage>& rows, std::int64_t head,
                                             std::int64_t begin, std::int64_t count,
                                             std::int64_t head_dim, std::int64_t cols, T factor,
                                             T* out) {
  for (std::int64_t row = 0; row < count; ++row) {
    const Storage* in = rows.data + (begin + row) * rows.token_stride + head * rows.head_stride;
    T* to = out + row * cols;
    for (std::int64_t d = 0; d < head_dim; ++d) to[d] = load(in[d]) * factor;
    for (std::int64_t d = head_dim; d < cols; ++d) to[d] = T{0};
  }
}

// packed[count][cols] -> out[head_dim][width], zeros from count on.
template <typename T>
[[gnu::always_inline]] inline void transpose_rows(const T* packed, std::int64_t count,
                                                  std::int64_t head_dim, std::int64_t cols,
                                                  std::int64_t width, T* out) {
  for (std::int64_t row = 0; row < count; row += kLanes<T>) {
    const std::int64_t rows = std::min(kLanes<T>, count - row);
    for (std::int64_t d = 0; d < head_dim; ++d) {
      for (std::int64_t i = 0; i < rows; ++i)
        out[d * width + row + i] = packed[(row + i) * cols + d];
    }
  }
  for (std::int64_t d = 0; d < head_dim; ++d) {
    for (std::int64_t i = count; i < width; ++i) out[d * width + i] = T{0};
  }
}

// mask[i] = 0 for valid keys, -Inf for the others and the padding of the last vector.
template <typename T>
[[gnu::always_inline]] inline void pack_mask(const bool* key_valid, std::int64_t key_begin,
                                             std::int64_t count, std::int64_t width, T* mask) {
  constexpr T kOut = -std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < count; ++i) {
    mask[i] = key_valid == nullptr || key_valid[key_begin + i] ? T{0} : kOut;
  }
  for (std::int64_t i = count; i < width; ++i) mask[i] = kOut;
}

}  // namespace switchyard::kernels::cpu
