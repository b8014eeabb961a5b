// Stands in for kernels/cuda/dynamic_shared.cuh: `extern __shared__` has no meaning in C++.
#pragma once

#include <cuda_runtime.h>

namespace switchyard::kernels::cuda {

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(switchyard::gpu_simulator::dynamic_shared_memory());
}

}  // namespace switchyard::kernels::cuda
