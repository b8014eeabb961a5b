#include "switchyard/kernels/row_gather.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void row_gather(const RowGatherParams& /*params*/, Stream /*stream*/) {
  throw_no_cuda("row_gather");
}

}  // namespace switchyard::kernels::cuda
