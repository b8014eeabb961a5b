#include "switchyard/kernels/expert_allocation.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void expert_allocation(const ExpertAllocationParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("expert_allocation");
}
void expert_allocation(const ExpertAllocationParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("expert_allocation");
}

}  // namespace switchyard::kernels::cuda
