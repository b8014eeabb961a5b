#include "switchyard/kernels/embedding.h"

#include <cstdint>

#include "switchyard/core/parallel.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

// Threads share the work by columns: each sees all tokens, in order, and no two write one element.
constexpr std::int64_t kColumns = 64;

template <typename Storage>
SWITCHYARD_SIMD_CLONES void add_columns(const EmbeddingBackwardParams<Storage>& params,
                                        std::int64_t begin, std::int64_t end) {
  for (std::int64_t token = 0; token < params.num_tokens; ++token) {
    const Storage* dy = params.dy_TH + token * params.row_size;
    accumulation_t<Storage>* sum = params.dweight_VH + params.token_T[token] * params.row_size;
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) sum[i] += load(dy[i]);
  }
}

template <typename Storage>
void backward(const EmbeddingBackwardParams<Storage>& params) {
  parallel_for(params.row_size, kColumns,
               [&](std::int64_t begin, std::int64_t end) { add_columns(params, begin, end); });
}

}  // namespace

void embedding_backward(const EmbeddingBackwardParams<float>& params) {
  backward(params);
}
void embedding_backward(const EmbeddingBackwardParams<double>& params) {
  backward(params);
}
void embedding_backward(const EmbeddingBackwardParams<BFloat16>& params) {
  backward(params);
}

}  // namespace switchyard::kernels::cpu
