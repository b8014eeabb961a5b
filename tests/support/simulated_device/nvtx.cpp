// Nobody profiles a simulated device.
#include "switchyard/kernels/nvtx.h"

namespace switchyard::kernels::cuda {

void push_range(const char* /*name*/) {}
void pop_range() {}

}  // namespace switchyard::kernels::cuda
