#include "switchyard/kernels/route_backward.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void route_backward(const RouteBackwardParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("route_backward");
}
void route_backward(const RouteBackwardParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("route_backward");
}

}  // namespace switchyard::kernels::cuda
