#include "switchyard/kernels/attention.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void attention(const AttentionParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention");
}
void attention(const AttentionParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention");
}
void attention(const AttentionParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention");
}
void attention_backward(const AttentionBackwardParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention");
}
void attention_backward(const AttentionBackwardParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention");
}
void attention_backward(const AttentionBackwardParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention");
}

}  // namespace switchyard::kernels::cuda
