#include "switchyard/kernels/rope.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void rope(const RopeParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rope");
}
void rope(const RopeParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rope");
}
void rope(const RopeParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rope");
}

}  // namespace switchyard::kernels::cuda
