// The only way to start a kernel, and what kernels need around it: scratch memory in stream order,
// and the one place where the host waits.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "switchyard/kernels/stream.h"

namespace switchyard::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xFFFFFFFFU;

// Throw OutOfMemoryError or InternalError with the call or the kernel, unless it is cudaSuccess.
void check_call(cudaError_t status, const char* call);
[[noreturn]] void fail_call(const char* call, const char* reason);
void check_launch(cudaError_t status, const void* kernel, dim3 grid, dim3 block,
                  std::size_t shared_bytes);

[[nodiscard]] inline cudaStream_t native(Stream stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

// Blocks for `count` items with `per_block` of them each. Throws InternalError above 2^31 - 1,
// which is what a grid can have.
[[nodiscard]] unsigned num_blocks(std::int64_t count, std::int64_t per_block);

// Throws UsageError for more experts than the routing kernels' shared memory has room for.
void check_num_experts(std::int64_t num_experts);

// A block may have so much shared memory, its own variables and the launch's argument together; a
// kernel must ask for more.
inline constexpr std::size_t kSharedBytesAlwaysAllowed = 48 * 1024;

// Queues kernel(args...) on the stream; an empty grid is nothing to do. Throws InternalError,
// naming the kernel, when it cannot be started. Errors inside a kernel surface at a later call.
template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Stream stream, Args&&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > 0) {
    cudaFuncAttributes attributes{};
    check_call(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
    if (attributes.sharedSizeBytes + shared_bytes > kSharedBytesAlwaysAllowed) {
      check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared_bytes)),
                   reinterpret_cast<const void*>(kernel), grid, block, shared_bytes);
    }
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = native(stream);
  check_launch(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...),
               reinterpret_cast<const void*>(kernel), grid, block, shared_bytes);
}

// Device memory for the kernels of one call, from and back to stream.scratch.
class Scratch {
 public:
  // Throws InternalError where the stream has none, and what stream.scratch throws.
  Scratch(std::size_t bytes, Stream stream);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // The next `count` elements, aligned to 256 bytes. Throws InternalError when the announced bytes
  // are used up.
  template <typename T>
  [[nodiscard]] T* take(std::int64_t count) {
    return static_cast<T*>(take_bytes(bytes_of<T>(count)));
  }
  // What take<T>(count) uses.
  template <typename T>
  [[nodiscard]] static std::size_t bytes_of(std::int64_t count) {
    return (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

 private:
  static constexpr std::size_t kAlignment = 256;
  void* take_bytes(std::size_t bytes);

  ScratchMemory* source_;
  std::size_t bytes_;
  std::size_t used_ = 0;
  void* memory_ = nullptr;
};

// Waits for the stream and returns the value at a device address. The only host synchronisation.
[[nodiscard]] std::int64_t read_back(const std::int64_t* device, Stream stream);

}  // namespace switchyard::kernels::cuda
