#include "switchyard/kernels/rms_norm.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void rms_norm(const RmsNormParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rms_norm");
}
void rms_norm(const RmsNormParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rms_norm");
}
void rms_norm(const RmsNormParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rms_norm");
}
void rms_norm_backward(const RmsNormBackwardParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rms_norm");
}
void rms_norm_backward(const RmsNormBackwardParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rms_norm");
}
void rms_norm_backward(const RmsNormBackwardParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("rms_norm");
}

}  // namespace switchyard::kernels::cuda
