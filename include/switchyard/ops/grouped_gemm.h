// The products of all experts on a GPU, each kind in one launch. No autograd: see moe/moe_ffn.
#pragma once

#include <ATen/core/Tensor.h>

#include "switchyard/ops/routing.h"

namespace switchyard::ops {

// Is CUTLASS compiled in, and is this a GPU that its kernels here are for (compute capability 9.0)?
[[nodiscard]] bool has_grouped_gemm(at::Device device);

// rows_NI [N, I] times the matrix of each row's expert: m[e] [I, J], or m[e]^T of m [E, J, I] where
// `transposed`. bf16 on CUDA, contiguous, I and J multiples of 8; sums are fp32. Returns [N, J].
[[nodiscard]] at::Tensor grouped_rows(const at::Tensor& rows_NI, const at::Tensor& m,
                                      bool transposed, const Routing& routing);

// sum_EIJ[e] += a[rows of e]^T b[rows of e]. a_NI [N, I] and b_NJ [N, J] as above, sum_EIJ fp32.
// Nothing is rounded to bf16 on the way.
void add_grouped_outer(const at::Tensor& sum_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                       const Routing& routing);

}  // namespace switchyard::ops
