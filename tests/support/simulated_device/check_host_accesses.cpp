// What kernels touch must be memory of the device, of their block or of their thread. Whether
// device memory is allocated, the pages say (memory.cpp); races and bounds,
// tests/support/gpu_simulator.
#include <fmt/format.h>

#include <vector>

#include "support/gpu_simulator/access.h"
#include "support/gpu_simulator/memory_check.h"
#include "support/gpu_simulator/schedule.h"
#include "support/gpu_simulator/symbols.h"
#include "support/simulated_device/memory.h"

namespace switchyard::gpu_simulator {
namespace {

const std::vector<SharedVariable>* g_shared = nullptr;  // of the running kernel

bool is_shared_variable(const std::byte* address) {
  for (const SharedVariable& variable : *g_shared) {
    if (address >= variable.begin && address < variable.begin + variable.bytes) return true;
  }
  return false;
}

}  // namespace

void check_access(const void* memory, std::size_t bytes, Access access, bool /*aligned*/) {
  const auto* address = static_cast<const std::byte*>(memory);
  if (running_stack == nullptr || is_on_own_stack(address) || is_position(address) ||
      simulated_device::is_device_memory(address) || is_shared_variable(address) ||
      (access == Access::read && is_constant(address))) {
    return;
  }
  fail(fmt::format("thread {} {} {} bytes at {}, which is host memory",
                   thread_name(running_thread()->thread), verb(access), bytes, memory));
}

void watch_arena(std::byte* /*arena*/, std::size_t /*bytes*/) {}
void watch_allocation(std::byte* /*memory*/, std::size_t /*bytes*/) {}
void watch_release(std::byte* /*memory*/, std::size_t /*bytes*/) {}
void watch_host_write(std::byte* /*memory*/, std::size_t /*bytes*/) {}
void watch_launch(const void* kernel) {
  g_shared = &shared_variables(kernel);
}
void watch_block(std::byte* /*dynamic_shared*/, std::size_t /*bytes*/) {}
void watch_block_barrier() {}

}  // namespace switchyard::gpu_simulator
