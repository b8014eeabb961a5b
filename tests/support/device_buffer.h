// Host vectors copied to and from a GPU, simulated or real.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace switchyard::testing {

inline void check_cuda(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// A vector<bool> has no bytes to copy: bool lives in vectors of char on the host.
template <typename T>
class DeviceBuffer {
 public:
  using Host = std::conditional_t<std::is_same_v<T, bool>, char, T>;

  explicit DeviceBuffer(std::int64_t count) : count_(static_cast<std::size_t>(count)) {
    void* memory = nullptr;
    // At least one byte: a pointer that is not null, as kernels are given.
    check_cuda(cudaMalloc(&memory, count_ * sizeof(T) + (count_ == 0 ? 1 : 0)));
    data_ = static_cast<T*>(memory);
  }
  explicit DeviceBuffer(const std::vector<Host>& host) : DeviceBuffer(std::ssize(host)) {
    check_cuda(cudaMemcpy(data_, host.data(), bytes(), cudaMemcpyHostToDevice));
  }
  DeviceBuffer(std::int64_t count, Host fill)
      : DeviceBuffer(std::vector<Host>(static_cast<std::size_t>(count), fill)) {}
  ~DeviceBuffer() { (void)cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::vector<Host> host() const {
    std::vector<Host> values(count_);
    check_cuda(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return count_ * sizeof(T); }

  std::size_t count_;
  T* data_ = nullptr;
};

}  // namespace switchyard::testing
