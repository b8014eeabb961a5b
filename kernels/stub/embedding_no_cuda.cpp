#include "switchyard/kernels/embedding.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void embedding_backward(const EmbeddingBackwardParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("embedding");
}
void embedding_backward(const EmbeddingBackwardParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("embedding");
}
void embedding_backward(const EmbeddingBackwardParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("embedding");
}

}  // namespace switchyard::kernels::cuda
