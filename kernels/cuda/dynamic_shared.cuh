// The shared memory whose size is an argument of the launch. The simulated GPU has its own version
// of this file.
#pragma once

#include <cuda_runtime.h>

namespace switchyard::kernels::cuda {

// Aligned to 16 bytes; one array for the whole kernel, whatever T.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char switchyard_dynamic_shared[];
  return reinterpret_cast<T*>(switchyard_dynamic_shared);
}

}  // namespace switchyard::kernels::cuda
