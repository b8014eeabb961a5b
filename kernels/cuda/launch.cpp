#include "cuda/launch.cuh"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "switchyard/core/error.h"
#include "switchyard/kernels/host_waits.h"

namespace switchyard::kernels::cuda {
namespace {

std::string kernel_name(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) return "(unknown)";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : mangled;
}

// This error is reported: it must not surface again at a later call of somebody else's.
[[noreturn]] void report(cudaError_t status, const std::string& message) {
  (void)cudaGetLastError();
  if (status == cudaErrorMemoryAllocation) throw OutOfMemoryError(message);
  throw InternalError(message);
}

}  // namespace

void check_call(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  report(status, fmt::format("{} failed: {}", call, cudaGetErrorString(status)));
}

void fail_call(const char* call, const char* reason) {
  throw InternalError(fmt::format("{} failed: {}", call, reason));
}

void check_launch(cudaError_t status, const void* kernel, dim3 grid, dim3 block,
                  std::size_t shared_bytes) {
  if (status == cudaSuccess) return;
  report(status, fmt::format("cannot start kernel {} with {}x{}x{} blocks of {}x{}x{} threads and "
                             "{} bytes of shared memory: {}",
                             kernel_name(kernel), grid.x, grid.y, grid.z, block.x, block.y, block.z,
                             shared_bytes, cudaGetErrorString(status)));
}

unsigned num_blocks(std::int64_t count, std::int64_t per_block) {
  const std::int64_t blocks = (count + per_block - 1) / per_block;
  SWITCHYARD_CHECK(count >= 0 && blocks <= std::numeric_limits<std::int32_t>::max(),
                   "{} items are too many for a kernel with {} per block", count, per_block);
  return static_cast<unsigned>(blocks);
}

void check_num_experts(std::int64_t num_experts) {
  constexpr std::int64_t kMax = 4096;  // 96 KiB of shared memory in fp64, of an A100's 163
  if (num_experts <= kMax) return;
  throw UsageError(fmt::format("{} experts are more than the {} that the CUDA kernels route among",
                               num_experts, kMax),
                   "set model.moe.num_experts lower, or train on the CPU");
}

Scratch::Scratch(std::size_t bytes, Stream stream) : source_(stream.scratch), bytes_(bytes) {
  if (bytes == 0) return;
  SWITCHYARD_CHECK(source_ != nullptr, "a kernel needs {} bytes of scratch, its stream has none",
                   bytes);
  memory_ = source_->allocate(bytes);
}

Scratch::~Scratch() {
  if (memory_ != nullptr) source_->release(memory_);
}

void* Scratch::take_bytes(std::size_t bytes) {
  SWITCHYARD_CHECK(used_ + bytes <= bytes_, "scratch memory of {} bytes is used up", bytes_);
  void* begin = static_cast<std::byte*>(memory_) + used_;
  used_ += bytes;
  return begin;
}

std::int64_t read_back(const std::int64_t* device, Stream stream) {
  count_host_synchronization();
  std::int64_t value = 0;
  check_call(cudaMemcpyAsync(&value, device, sizeof(value), cudaMemcpyDeviceToHost, native(stream)),
             "cudaMemcpyAsync");
  check_call(cudaStreamSynchronize(native(stream)), "waiting for the stream");
  return value;
}

}  // namespace switchyard::kernels::cuda
