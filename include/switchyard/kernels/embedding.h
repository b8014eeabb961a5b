// The gradient of a table of rows that tokens looked up.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct EmbeddingBackwardParams {
  const T* dy_TH = nullptr;
  const std::int64_t* token_T = nullptr;  // rows of the table
  std::int64_t num_tokens = 0;
  std::int64_t row_size = 0;
  std::int64_t vocab_size = 0;
  accumulation_t<T>* dweight_VH = nullptr;  // added to, in ascending t: the same bits always
};

namespace cpu {
void embedding_backward(const EmbeddingBackwardParams<float>& params);
void embedding_backward(const EmbeddingBackwardParams<double>& params);
void embedding_backward(const EmbeddingBackwardParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void embedding_backward(const EmbeddingBackwardParams<float>& params, Stream stream);
void embedding_backward(const EmbeddingBackwardParams<double>& params, Stream stream);
void embedding_backward(const EmbeddingBackwardParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
