#include "switchyard/kernels/nvtx.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void push_range(const char* /*name*/) {
  throw_no_cuda("nvtx");
}
void pop_range() {
  throw_no_cuda("nvtx");
}

}  // namespace switchyard::kernels::cuda
