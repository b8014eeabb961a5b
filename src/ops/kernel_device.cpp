#include "ops/kernel_device.h"

#include <c10/core/Allocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

// From LibTorch's allocator, in the order of the current stream: one pool for tensors and scratch,
// one count, and one error when it runs out (c10::OutOfMemoryError).
class ScratchOfTorch final : public kernels::ScratchMemory {
 public:
  void* allocate(std::size_t bytes) override {
    return c10::GetAllocator(c10::kCUDA)->raw_allocate(bytes);
  }
  void release(void* memory) noexcept override {
    c10::GetAllocator(c10::kCUDA)->raw_deallocate(memory);
  }
};

ScratchOfTorch scratch_of_torch;

}  // namespace

KernelDevice::KernelDevice(at::Device device, const char* op) : device_(device), op_(op) {
  SWITCHYARD_CHECK(device.is_cpu() || device.is_cuda(), "{} has no kernels for {}", op,
                   device.str());
}

// Found without CUDA's headers.
kernels::Stream KernelDevice::stream() const {
  SWITCHYARD_CHECK(device_.is_cuda(), "{} asks for a stream of {}", op_, device_.str());
  return {.handle = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).native_handle(),
          .scratch = &scratch_of_torch};
}

void KernelDevice::check(const at::Tensor& tensor) const {
  SWITCHYARD_CHECK(tensor.defined(), "{} got a tensor that is not defined", op_);
  SWITCHYARD_CHECK(tensor.device() == device_, "{} got a tensor on {}, expected {}", op_,
                   tensor.device().str(), device_.str());
}

}  // namespace switchyard::ops
