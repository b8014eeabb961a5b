// The seam between tensors and kernels: it decides by device which of them compute, and hands out
// the addresses they compute on. Nothing else in this layer takes an address off a tensor
// (tests/architecture), so host memory for a GPU, or a GPU's for the host, is an error with a name.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/BFloat16.h>

#include <cstddef>
#include <span>
#include <type_traits>

#include "switchyard/core/error.h"
#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::ops {

class KernelDevice {
 public:
  // `op` names the kernels in errors: a literal. Throws InternalError for a device that has none.
  KernelDevice(at::Device device, const char* op);

  // The first element, in the kernels' type for the tensor's dtype; std::byte takes any dtype.
  // Throws InternalError for a tensor that is undefined or on another device.
  template <typename T>
  [[nodiscard]] const T* read(const at::Tensor& tensor) const {
    check(tensor);
    if constexpr (std::is_same_v<T, std::byte>) {
      return static_cast<const std::byte*>(tensor.const_data_ptr());
    } else if constexpr (std::is_same_v<T, kernels::BFloat16>) {
      return reinterpret_cast<const T*>(tensor.const_data_ptr<at::BFloat16>());
    } else {
      return tensor.const_data_ptr<T>();
    }
  }
  template <typename T>
  [[nodiscard]] T* write(const at::Tensor& tensor) const {
    check(tensor);
    if constexpr (std::is_same_v<T, std::byte>) {
      return static_cast<std::byte*>(tensor.mutable_data_ptr());
    } else if constexpr (std::is_same_v<T, kernels::BFloat16>) {
      return reinterpret_cast<T*>(tensor.mutable_data_ptr<at::BFloat16>());
    } else {
      return tensor.mutable_data_ptr<T>();
    }
  }
  // Null for an undefined tensor.
  template <typename T>
  [[nodiscard]] const T* read_if_defined(const at::Tensor& tensor) const {
    return tensor.defined() ? read<T>(tensor) : nullptr;
  }
  template <typename T>
  [[nodiscard]] T* write_if_defined(const at::Tensor& tensor) const {
    return tensor.defined() ? write<T>(tensor) : nullptr;
  }

  // on_cpu(), or on_cuda(stream) with torch's current stream: the kernel of that name or its stub.
  template <typename OnCpu, typename OnCuda>
  auto run(const OnCpu& on_cpu, const OnCuda& on_cuda) const {
    if (device_.is_cpu()) return on_cpu();
    const c10::DeviceGuard guard(device_);  // kernels start on the thread's current device
    return on_cuda(stream());
  }

  // Only of a GPU.
  [[nodiscard]] kernels::Stream stream() const;

 private:
  void check(const at::Tensor& tensor) const;

  at::Device device_;
  const char* op_;
};

// The elements of a contiguous tensor, for the host to look at. Throws InternalError for a tensor
// that is not on the CPU.
template <typename T>
[[nodiscard]] std::span<const T> host_values(const at::Tensor& tensor) {
  SWITCHYARD_CHECK(tensor.is_contiguous(), "the host looks at a tensor that is not contiguous");
  return {KernelDevice(at::kCPU, "the host").read<T>(tensor),
          static_cast<std::size_t>(tensor.numel())};
}

}  // namespace switchyard::ops
