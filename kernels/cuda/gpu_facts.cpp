#include "switchyard/kernels/gpu_facts.h"

#include "cuda/launch.cuh"

namespace switchyard::kernels::cuda {

GpuFacts gpu_facts() {
  int device = 0;
  check_call(cudaGetDevice(&device), "cudaGetDevice");
  cudaDeviceProp properties{};
  check_call(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return {.name = properties.name,
          .major = properties.major,
          .minor = properties.minor,
          .num_multiprocessors = properties.multiProcessorCount};
}

}  // namespace switchyard::kernels::cuda
