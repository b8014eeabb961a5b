#include "switchyard/kernels/grouped_gemm.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

bool has_grouped_gemm() {
  return false;
}
void grouped_rows(const GroupedRowsParams& /*params*/, Stream /*stream*/) {
  throw_no_cuda("grouped_rows");
}
void grouped_outer(const GroupedOuterParams& /*params*/, Stream /*stream*/) {
  throw_no_cuda("grouped_outer");
}

}  // namespace switchyard::kernels::cuda
