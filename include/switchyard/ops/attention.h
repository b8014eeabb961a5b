// Softmax attention over packed sequences, with the log-sum-exp that importance measures need.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace switchyard::ops {

struct AttentionOptions {
  // Boundaries of the sequences in the packed T dim, ascending from 0 to T (host side).
  std::vector<std::int64_t> sequence_offset = {};
  bool causal = true;
  double scale = 0.0;       // 0 = 1/sqrt(head_dim)
  at::Tensor valid_T = {};  // [T] bool or undefined; invalid keys are never attended to
  // Generation: rows [key_begin[b], key_end[b]) of k and v are the keys of sequence b, and its
  // queries the last of them; valid_T then has a row per key. Empty: keys are the queries' rows.
  std::vector<std::int64_t> key_begin = {};
  std::vector<std::int64_t> key_end = {};
};

struct AttentionOutput {
  at::Tensor out_TAD;  // [T, A, D], A query heads of size D; differentiable
  at::Tensor lse_AT;   // [A, T] accumulation type, log-sum-exp of the scaled scores; no gradient
};

// q_TAD [T, A, D], k_TGD and v_TGD [T, G, D] with A a multiple of G (grouped-query attention: head
// a reads group a / (A/G)); fp32, bf16 or fp64; views with any strides of T and heads.
// Differentiable in q, k, v. A query that sees no key gets out 0 and lse 0. bf16 on a GPU without a
// mask is computed by LibTorch's flash attention, everything else by our own kernels.
[[nodiscard]] AttentionOutput attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                        const at::Tensor& v_TGD, const AttentionOptions& options);

}  // namespace switchyard::ops
