// The output head and the language-model loss in one: logits exist for one chunk of tokens at a
// time, and the gradient is formed in the same pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace switchyard::ops {

// Tokens whose logits exist at a time, unless chosen otherwise: few enough to stay in a CPU's
// cache, enough to fill a GPU (with 32,000 pieces, 262 MB of logits in bf16).
[[nodiscard]] constexpr std::int64_t cross_entropy_chunk_tokens(bool on_gpu) {
  return on_gpu ? 4096 : 512;
}

struct LinearCrossEntropyOptions {
  std::int64_t chunk_tokens = 0;  // 0 = cross_entropy_chunk_tokens()
  // Accumulation-type buffer [V, H] that weight_VH's gradient is added to during backward; when
  // undefined the gradient flows through autograd as usual.
  at::Tensor weight_grad_VH = {};
};

// x_TH [T, H], weight_VH [V, H], label_T [T] int64 in [0, V) or -1 (no loss). Returns the sum over
// labelled tokens of -log softmax(x W^T)[label] (nats), a scalar of the accumulation type.
// Differentiable in x and weight. A label >= V throws DataError.
[[nodiscard]] at::Tensor linear_cross_entropy(const at::Tensor& x_TH, const at::Tensor& weight_VH,
                                              const at::Tensor& label_T,
                                              const LinearCrossEntropyOptions& options = {});

// No gradient: the per-token loss [T] (0 where the label is -1), accumulation type.
[[nodiscard]] at::Tensor linear_cross_entropy_per_token(const at::Tensor& x_TH,
                                                        const at::Tensor& weight_VH,
                                                        const at::Tensor& label_T);

}  // namespace switchyard::ops
