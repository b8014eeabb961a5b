// Softmax attention over packed sequences, with the log-sum-exp that importance measures need.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace switchyard::ops {

struct AttentionOptions {
  // Boundaries of the sequences in the packed T dim, ascending from 0 to T (host side).
  std::vector<std::int64_t> sequence_offset;
  bool causal = true;
  double scale = 0.0;  // 0 = 1/sqrt(head_dim)
  at::Tensor valid_T;  // [T] bool or undefined; invalid keys are never attended to
};

struct AttentionOutput {
  at::Tensor out_TAD;  // [T, A, D], A query heads of size D; differentiable
  at::Tensor lse_AT;   // [A, T] accumulation type, log-sum-exp of the scaled scores; no gradient
};

// q_TAD [T, A, D], k_TGD and v_TGD [T, G, D] with A a multiple of G (grouped-query attention: head
// a reads group a / (A/G)); fp32, bf16 or fp64. Differentiable in q, k, v.
[[nodiscard]] AttentionOutput attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                        const at::Tensor& v_TGD, const AttentionOptions& options);

}  // namespace switchyard::ops
