#include "switchyard/kernels/top_k_route.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

std::int64_t top_k_route(const TopKRouteParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("top_k_route");
}
std::int64_t top_k_route(const TopKRouteParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("top_k_route");
}

}  // namespace switchyard::kernels::cuda
