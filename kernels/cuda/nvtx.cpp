#include "switchyard/kernels/nvtx.h"

#include <nvtx3/nvToolsExt.h>

namespace switchyard::kernels::cuda {

void push_range(const char* name) {
  nvtxRangePushA(name);
}

void pop_range() {
  nvtxRangePop();
}

}  // namespace switchyard::kernels::cuda
