// Where a CUDA kernel is queued.
#pragma once

namespace switchyard::kernels {

// A cudaStream_t, opaque so that no CUDA header is needed to name it.
struct Stream {
  void* handle = nullptr;
};

}  // namespace switchyard::kernels
