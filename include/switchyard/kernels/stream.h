// Where CUDA kernels are queued, and where their scratch comes from.
#pragma once

#include <cstddef>

namespace switchyard::kernels {

// Device memory in the order of one stream: what is released may be given to work that is queued
// later while the kernels that used it still run.
class ScratchMemory {
 public:
  // `bytes` is not 0. Aligned to 256 bytes. Throws an error of its own where there is no room.
  [[nodiscard]] virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;

 protected:
  ~ScratchMemory() = default;
};

// A cudaStream_t, opaque so that no CUDA header is needed to name it.
struct Stream {
  void* handle = nullptr;
  ScratchMemory* scratch = nullptr;  // null: for kernels that need none
};

}  // namespace switchyard::kernels
