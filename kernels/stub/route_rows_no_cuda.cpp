#include "switchyard/kernels/route_rows.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void route_rows(const RouteRowsParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("route_rows");
}
void route_rows(const RouteRowsParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("route_rows");
}

}  // namespace switchyard::kernels::cuda
