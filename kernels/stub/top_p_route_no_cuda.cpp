#include "switchyard/kernels/top_p_route.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

std::int64_t top_p_route(const TopPRouteParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("top_p_route");
}
std::int64_t top_p_route(const TopPRouteParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("top_p_route");
}

}  // namespace switchyard::kernels::cuda
