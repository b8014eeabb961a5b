// Softmax attention over packed sequences, forward and backward, and the layout that other passes
// over the same scores (attention_importance) share.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// Element (token, head, d) is data[token * token_stride + head * head_stride + d].
template <typename T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

struct KeySpan {
  std::int64_t begin = 0;  // rows of k and v that a sequence's queries may see
  std::int64_t end = 0;
};

// Queries of sequence b are rows [query_offset[b], query_offset[b+1]) of q and the *last* ones of
// the sequence whose keys are rows key_span[b] of k and v: in training both ranges are equal, in
// generation the span also holds the keys of earlier tokens.
template <typename T>
struct AttentionShape {
  HeadRows<const T> q;  // A heads
  HeadRows<const T> k;  // G heads; query head a reads head a / (A/G)
  std::int64_t num_queries = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_groups = 0;
  std::int64_t head_dim = 0;
  std::int64_t num_sequences = 0;
  const std::int64_t* query_offset_B1 = nullptr;
  const KeySpan* key_span_B = nullptr;
  const bool* key_valid = nullptr;  // by row of k; nullptr: all valid
  bool causal = true;
  double scale = 1.0;
};

template <typename T>
struct AttentionParams {
  AttentionShape<T> shape;
  HeadRows<const T> v;
  HeadRows<T> out;                      // a query that sees no key gets 0
  accumulation_t<T>* lse_AT = nullptr;  // [A, num_queries] log-sum-exp of scale * q.k; 0 likewise
};

template <typename T>
struct AttentionBackwardParams {
  AttentionShape<T> shape;
  HeadRows<const T> v;
  HeadRows<const T> out;
  const accumulation_t<T>* lse_AT = nullptr;
  HeadRows<const T> dout;
  HeadRows<T> dq;
  HeadRows<T> dk;  // rows outside all spans are not written
  HeadRows<T> dv;
};

// Scores are computed tile by tile, in the accumulation type, and again in backward from the
// log-sum-exp, as in FlashAttention (Dao et al., 2022). No [S, S] matrix exists.
namespace cpu {
void attention(const AttentionParams<float>& params);
void attention(const AttentionParams<double>& params);
void attention(const AttentionParams<BFloat16>& params);
void attention_backward(const AttentionBackwardParams<float>& params);
void attention_backward(const AttentionBackwardParams<double>& params);
void attention_backward(const AttentionBackwardParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void attention(const AttentionParams<float>& params, Stream stream);
void attention(const AttentionParams<double>& params, Stream stream);
void attention(const AttentionParams<BFloat16>& params, Stream stream);
void attention_backward(const AttentionBackwardParams<float>& params, Stream stream);
void attention_backward(const AttentionBackwardParams<double>& params, Stream stream);
void attention_backward(const AttentionBackwardParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
