#include "switchyard/kernels/dropout.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void dropout(const DropoutParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("dropout");
}
void dropout(const DropoutParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("dropout");
}
void dropout(const DropoutParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("dropout");
}

}  // namespace switchyard::kernels::cuda
