#include "switchyard/kernels/linear_cross_entropy.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void linear_cross_entropy(const LinearCrossEntropyParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("linear_cross_entropy");
}
void linear_cross_entropy(const LinearCrossEntropyParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("linear_cross_entropy");
}
void linear_cross_entropy(const LinearCrossEntropyParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("linear_cross_entropy");
}

}  // namespace switchyard::kernels::cuda
