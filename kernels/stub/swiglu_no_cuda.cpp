#include "switchyard/kernels/swiglu.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void swiglu(const SwigluParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("swiglu");
}
void swiglu(const SwigluParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("swiglu");
}
void swiglu(const SwigluParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("swiglu");
}
void swiglu_backward(const SwigluBackwardParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("swiglu_backward");
}
void swiglu_backward(const SwigluBackwardParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("swiglu_backward");
}
void swiglu_backward(const SwigluBackwardParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("swiglu_backward");
}

}  // namespace switchyard::kernels::cuda
