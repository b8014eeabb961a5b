// Stands in for CUDA's header when a .cu file is compiled as C++ for the simulated GPU. It holds
// what our kernels use and no more: a kernel that needs another intrinsic adds it here.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "support/gpu_simulator/simulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One instance per block: blocks run one after the other, so a static variable will do. It must be
// declared in the kernel itself: the simulator finds it by its name.
#define __shared__ static

struct dim3 : switchyard::gpu_simulator::Index3 {
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : Index3{x_size, y_size, z_size} {}
};

inline constexpr const auto& threadIdx = switchyard::gpu_simulator::g_position.thread;
inline constexpr const auto& blockIdx = switchyard::gpu_simulator::g_position.block;
inline constexpr const auto& blockDim = switchyard::gpu_simulator::g_position.block_dim;
inline constexpr const auto& gridDim = switchyard::gpu_simulator::g_position.grid_dim;

struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

// ---- Barriers and warp intrinsics. The last argument, the place of the call, is never given.

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  switchyard::gpu_simulator::block_barrier(false, where);
}
inline int __syncthreads_count(int predicate,
                               std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::block_barrier(predicate != 0, where);
}
inline int __syncthreads_or(int predicate,
                            std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::block_barrier(predicate != 0, where) != 0 ? 1 : 0;
}

namespace switchyard::gpu_simulator {

template <typename T>
GPU_SIMULATOR_INTERNAL inline std::uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  if constexpr (std::is_integral_v<T>) {
    return static_cast<std::uint64_t>(value);  // sign-extends
  } else {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
  }
}
template <typename T>
GPU_SIMULATOR_INTERNAL inline T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
template <typename T>
GPU_SIMULATOR_INTERNAL inline T shuffle(WarpOp op, unsigned mask, T value, unsigned argument,
                                        int width, std::source_location where) {
  return from_bits<T>(warp_collective({.op = op,
                                       .mask = mask,
                                       .value = to_bits(value),
                                       .argument = argument,
                                       .width = static_cast<unsigned>(width),
                                       .where = where}));
}
template <typename T>
GPU_SIMULATOR_INTERNAL inline T collective(WarpOp op, unsigned mask, T value,
                                           std::source_location where) {
  return from_bits<T>(
      warp_collective({.op = op, .mask = mask, .value = to_bits(value), .where = where}));
}

}  // namespace switchyard::gpu_simulator

inline void __syncwarp(unsigned mask = 0xFFFFFFFFU,
                       std::source_location where = std::source_location::current()) {
  switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::barrier, mask, 0U,
                                        where);
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::shuffle(switchyard::gpu_simulator::WarpOp::shuffle, mask, value,
                                            static_cast<unsigned>(source), width, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::shuffle(switchyard::gpu_simulator::WarpOp::shuffle_up, mask,
                                            value, delta, width, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::shuffle(switchyard::gpu_simulator::WarpOp::shuffle_down, mask,
                                            value, delta, width, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::shuffle(switchyard::gpu_simulator::WarpOp::shuffle_xor, mask,
                                            value, static_cast<unsigned>(lane_mask), width, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::ballot, mask,
                                               predicate != 0 ? 1U : 0U, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
  return __ballot_sync(mask, predicate, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
  return __ballot_sync(mask, predicate, where) == mask ? 1 : 0;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value,
                          std::source_location where = std::source_location::current()) {
  return static_cast<unsigned>(switchyard::gpu_simulator::collective<std::uint64_t>(
      switchyard::gpu_simulator::WarpOp::match_any, mask, switchyard::gpu_simulator::to_bits(value),
      where));
}
// Of 32-bit integers only, as on a GPU.
template <typename T>
concept ReducedInWarp = std::same_as<T, int> || std::same_as<T, unsigned>;
template <ReducedInWarp T>
T __reduce_add_sync(unsigned mask, T value,
                    std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::reduce_add, mask,
                                               value, where);
}
template <ReducedInWarp T>
T __reduce_min_sync(unsigned mask, T value,
                    std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::reduce_min, mask,
                                               value, where);
}
template <ReducedInWarp T>
T __reduce_max_sync(unsigned mask, T value,
                    std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::reduce_max, mask,
                                               value, where);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value,
                                  std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::reduce_and, mask,
                                               value, where);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value,
                                 std::source_location where = std::source_location::current()) {
  return switchyard::gpu_simulator::collective(switchyard::gpu_simulator::WarpOp::reduce_or, mask,
                                               value, where);
}

// ---- Atomics: integers only. A sum of floats in the order of arrival has other bits every time.

namespace switchyard::gpu_simulator {

template <typename T>
concept Atomic =
    std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;
template <Atomic T, typename Update>
GPU_SIMULATOR_INTERNAL inline T update(T* address, const Update& function) {
  check_atomic(address, sizeof(T));
  const T before = *address;
  *address = function(before);
  return before;
}

}  // namespace switchyard::gpu_simulator

template <switchyard::gpu_simulator::Atomic T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return switchyard::gpu_simulator::update(
      address, [=](T before) GPU_SIMULATOR_INTERNAL { return before + value; });
}
template <switchyard::gpu_simulator::Atomic T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return switchyard::gpu_simulator::update(
      address, [=](T before) GPU_SIMULATOR_INTERNAL { return before < value ? value : before; });
}
template <switchyard::gpu_simulator::Atomic T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return switchyard::gpu_simulator::update(
      address, [=](T before) GPU_SIMULATOR_INTERNAL { return value < before ? value : before; });
}
template <switchyard::gpu_simulator::Atomic T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return switchyard::gpu_simulator::update(
      address, [=](T before) GPU_SIMULATOR_INTERNAL { return before | value; });
}

// ---- Bits

inline int __popc(unsigned value) {
  return std::popcount(value);
}
inline int __popcll(unsigned long long value) {
  return std::popcount(value);
}
inline int __ffs(int value) {
  return __builtin_ffs(value);
}
inline int __clz(int value) {
  return std::countl_zero(static_cast<unsigned>(value));
}

inline unsigned __float_as_uint(float value) {
  return std::bit_cast<unsigned>(value);
}
inline long long __double_as_longlong(double value) {
  return std::bit_cast<long long>(value);
}

// ---- The part of the runtime that launches and moves memory. Streams run at once.

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9
};
using cudaStream_t = void*;

inline const char* cudaGetErrorString(cudaError_t status) {
  if (status == cudaErrorMemoryAllocation) return "out of memory";
  return status == cudaSuccess ? "no error" : "invalid configuration argument";
}
// The last error of this thread, until it is asked for.
namespace switchyard::gpu_simulator {
inline thread_local cudaError_t last_error = cudaSuccess;
}
inline cudaError_t cudaGetLastError() {
  return std::exchange(switchyard::gpu_simulator::last_error, cudaSuccess);
}

inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = bytes == 0 ? nullptr : switchyard::gpu_simulator::allocate(bytes);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  switchyard::gpu_simulator::release(memory);
  return cudaSuccess;
}

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
GPU_SIMULATOR_INTERNAL inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes,
                                                     cudaMemcpyKind kind) {
  using namespace switchyard::gpu_simulator;
  if (kind == cudaMemcpyHostToDevice) {
    check_device_range(to, bytes, "copy");
    if (bytes > 0) std::memcpy(host_view(to), from, bytes);
    mark_initialised(to, bytes);
  } else {
    check_device_range(from, bytes, "copy");
    if (bytes > 0) std::memcpy(to, host_view(from), bytes);
    count_copy_to_host();
  }
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes,
                                   cudaMemcpyKind kind, cudaStream_t /*stream*/) {
  return cudaMemcpy(to, from, bytes, kind);
}
GPU_SIMULATOR_INTERNAL inline cudaError_t cudaMemsetAsync(void* memory, int value,
                                                          std::size_t bytes,
                                                          cudaStream_t /*stream*/) {
  switchyard::gpu_simulator::check_device_range(memory, bytes, "fill");
  if (bytes > 0) std::memset(switchyard::gpu_simulator::host_view(memory), value, bytes);
  switchyard::gpu_simulator::mark_initialised(memory, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t /*stream*/) {
  switchyard::gpu_simulator::count_host_wait();
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
// What is asked of a device; the rest of a real one's is left out.
struct cudaDeviceProp {
  char name[256] = "simulated GPU";
  int major = 9;
  int minor = 0;
  int multiProcessorCount = 1;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
  *properties = {};
  return cudaSuccess;
}

struct cudaFuncAttributes {
  std::size_t sharedSizeBytes = 0;  // of its own variables
};
template <typename Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel* kernel) {
  attributes->sharedSizeBytes =
      switchyard::gpu_simulator::own_shared_bytes(reinterpret_cast<const void*>(kernel));
  return cudaSuccess;
}
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute /*attribute*/, int value) {
  switchyard::gpu_simulator::allow_shared_bytes(reinterpret_cast<const void*>(kernel),
                                                static_cast<std::size_t>(value));
  return cudaSuccess;
}

struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...),
                               Args&&... args) {
  static_assert((std::is_trivially_copyable_v<Params> && ...));
  using Call = std::tuple<void (*)(Params...), Params...>;
  const Call call(kernel, static_cast<Params>(args)...);
  const bool started = switchyard::gpu_simulator::run_kernel(
      {.kernel = reinterpret_cast<const void*>(kernel),
       .invoke =
           [](const void* arguments) {
             std::apply([](auto function, const auto&... values) { function(values...); },
                        *static_cast<const Call*>(arguments));
           },
       .arguments = &call,
       .argument_bytes = sizeof(call)},
      {.grid = config->gridDim,
       .block = config->blockDim,
       .shared_bytes = config->dynamicSmemBytes});
  if (!started) switchyard::gpu_simulator::last_error = cudaErrorInvalidConfiguration;
  return started ? cudaSuccess : cudaErrorInvalidConfiguration;
}
inline cudaError_t cudaFuncGetName(const char** name, const void* kernel) {
  static thread_local std::string text;
  text = switchyard::gpu_simulator::name_of(kernel);
  *name = text.c_str();
  return cudaSuccess;
}
