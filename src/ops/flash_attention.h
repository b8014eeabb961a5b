// Attention by LibTorch's flash kernels (Dao, "FlashAttention-2", 2023), on tensor cores: what bf16
// on a GPU takes. The arithmetic is that of kernels/attention.h, which stays for everything else.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "switchyard/ops/attention.h"

namespace switchyard::ops {

// Of a GPU's kernels: bf16, heads of 8 to 256 elements in steps of 8.
[[nodiscard]] bool has_flash_kernel(at::ScalarType dtype, std::int64_t head_size);

// What has a kernel, on a GPU, without a mask; with cached keys only where no gradient is wanted,
// which its backward pass has not for them.
[[nodiscard]] bool takes_flash_attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                         const at::Tensor& v_TGD, const AttentionOptions& options);

// As attention(), for what takes_flash_attention() says yes to and heads whose elements are
// neighbours. In the backward pass LibTorch adds
// the gradient of q in any order, unless make_deterministic() was called.
[[nodiscard]] AttentionOutput flash_attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                              const at::Tensor& v_TGD,
                                              const AttentionOptions& options);

}  // namespace switchyard::ops
