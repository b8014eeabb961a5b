// Softmax cross-entropy of one chunk of logits: the loss, and the gradient in the logits' place.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct LinearCrossEntropyParams {
  T* logits_NV = nullptr;                 // [N, V], in rows of row_stride elements
  const std::int64_t* label_N = nullptr;  // in [0, V), or -1: loss and gradient 0
  std::int64_t num_rows = 0;
  std::int64_t vocab_size = 0;
  std::int64_t row_stride = 0;          // at least vocab_size; what is behind a row is undefined
  accumulation_t<T>* loss_N = nullptr;  // -log softmax(logits)[label], nats
  bool write_gradient = false;          // logits -> softmax(logits) - onehot(label)
};

namespace cpu {
void linear_cross_entropy(const LinearCrossEntropyParams<float>& params);
void linear_cross_entropy(const LinearCrossEntropyParams<double>& params);
void linear_cross_entropy(const LinearCrossEntropyParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void linear_cross_entropy(const LinearCrossEntropyParams<float>& params, Stream stream);
void linear_cross_entropy(const LinearCrossEntropyParams<double>& params, Stream stream);
void linear_cross_entropy(const LinearCrossEntropyParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
