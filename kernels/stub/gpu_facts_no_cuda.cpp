#include "switchyard/kernels/gpu_facts.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

GpuFacts gpu_facts() {
  throw_no_cuda("gpu_facts");
}

}  // namespace switchyard::kernels::cuda
