// Device memory: allocated here, mapped twice. Device addresses are closed to everybody but the
// kernel that runs; the host's view of the same bytes is for the operators that stand in for
// CUDA's.
#pragma once

#include <cstddef>

#include "support/gpu_simulator/simulator.h"

namespace switchyard::simulated_device {

using gpu_simulator::host_view;

inline constexpr std::size_t kDeviceBytes = std::size_t{16} << 30;  // addresses, of all devices
extern constinit const std::byte* device_begin;                     // null before the first use
[[nodiscard]] inline bool is_device_memory(const void* memory) {
  return static_cast<std::size_t>(static_cast<const std::byte*>(memory) - device_begin) <
             kDeviceBytes &&
         device_begin != nullptr;
}
[[nodiscard]] bool is_host_view(const void* memory);

// What the thread does now, for the message of a host access that ends the program.
class CurrentOperator {
 public:
  explicit CurrentOperator(const char* name);  // must outlive this
  ~CurrentOperator();
  CurrentOperator(const CurrentOperator&) = delete;
  CurrentOperator& operator=(const CurrentOperator&) = delete;

 private:
  const char* before_;
};

}  // namespace switchyard::simulated_device
