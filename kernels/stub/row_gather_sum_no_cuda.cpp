#include "switchyard/kernels/row_gather_sum.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void row_gather_sum(const RowGatherSumParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("row_gather_sum");
}
void row_gather_sum(const RowGatherSumParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("row_gather_sum");
}
void row_gather_sum(const RowGatherSumParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("row_gather_sum");
}

}  // namespace switchyard::kernels::cuda
