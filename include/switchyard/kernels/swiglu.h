// SwiGLU on rows: A = silu(G) * U with [G U] side by side (Shazeer, "GLU Variants Improve
// Transformer", 2020). All arithmetic is in the accumulation type.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct SwigluParams {
  const T* gate_up_N2F = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t size = 0;  // F
  T* activation_NF = nullptr;
};

// With D the gradient of the row's output before its weight w:
// dweight = <D, A>, dA = w D, dU = dA silu(G), dG = dA U silu'(G). Rows of dgate_up and activation
// from num_rows to padded_rows are zeroed.
template <typename T>
struct SwigluBackwardParams {
  const T* gate_up_N2F = nullptr;
  const T* d_NF = nullptr;
  const accumulation_t<T>* row_weight_N = nullptr;  // null: 1
  std::int64_t num_rows = 0;
  std::int64_t padded_rows = 0;  // >= num_rows
  std::int64_t size = 0;         // F
  T* dgate_up_N2F = nullptr;
  T* activation_NF = nullptr;              // w A; null: not wanted
  accumulation_t<T>* dweight_N = nullptr;  // null: not wanted
};

namespace cpu {
void swiglu(const SwigluParams<float>& params);
void swiglu(const SwigluParams<double>& params);
void swiglu(const SwigluParams<BFloat16>& params);
void swiglu_backward(const SwigluBackwardParams<float>& params);
void swiglu_backward(const SwigluBackwardParams<double>& params);
void swiglu_backward(const SwigluBackwardParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void swiglu(const SwigluParams<float>& params, Stream stream);
void swiglu(const SwigluParams<double>& params, Stream stream);
void swiglu(const SwigluParams<BFloat16>& params, Stream stream);
void swiglu_backward(const SwigluBackwardParams<float>& params, Stream stream);
void swiglu_backward(const SwigluBackwardParams<double>& params, Stream stream);
void swiglu_backward(const SwigluBackwardParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
