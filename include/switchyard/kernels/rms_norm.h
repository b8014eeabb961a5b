// Root-mean-square normalisation of rows.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// The weight is in the accumulation type, whatever the rows are stored in.
template <typename T>
struct RmsNormParams {
  const T* x = nullptr;  // [N, H]
  const accumulation_t<T>* weight_H = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t row_size = 0;
  double eps = 0.0;
  T* y = nullptr;                          // [N, H]
  accumulation_t<T>* inverse_N = nullptr;  // 1 / sqrt(mean(x^2) + eps), for backward
};

template <typename T>
struct RmsNormBackwardParams {
  const T* x = nullptr;
  const accumulation_t<T>* weight_H = nullptr;
  const accumulation_t<T>* inverse_N = nullptr;
  const T* dy = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t row_size = 0;
  T* dx = nullptr;
  accumulation_t<T>* dweight_H = nullptr;  // overwritten; partial sums are of fixed blocks of rows
};

namespace cpu {
void rms_norm(const RmsNormParams<float>& params);
void rms_norm(const RmsNormParams<double>& params);
void rms_norm(const RmsNormParams<BFloat16>& params);
void rms_norm_backward(const RmsNormBackwardParams<float>& params);
void rms_norm_backward(const RmsNormBackwardParams<double>& params);
void rms_norm_backward(const RmsNormBackwardParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void rms_norm(const RmsNormParams<float>& params, Stream stream);
void rms_norm(const RmsNormParams<double>& params, Stream stream);
void rms_norm(const RmsNormParams<BFloat16>& params, Stream stream);
void rms_norm_backward(const RmsNormBackwardParams<float>& params, Stream stream);
void rms_norm_backward(const RmsNormBackwardParams<double>& params, Stream stream);
void rms_norm_backward(const RmsNormBackwardParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
