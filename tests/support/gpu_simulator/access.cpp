// g++ calls __tsan_read* and __tsan_write* before every access of code that is compiled with
// -fsanitize=thread; these are ours.
#include "support/gpu_simulator/access.h"

#include <link.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "support/gpu_simulator/simulator.h"

namespace switchyard::gpu_simulator {

const char* verb(Access access) {
  return access == Access::read ? "reads" : access == Access::write ? "writes" : "updates";
}

bool is_constant(const std::byte* address) {
  static const std::vector<std::pair<std::uintptr_t, std::uintptr_t>> kSegments = [] {
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> segments;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t /*size*/, void* out) {
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& header = info->dlpi_phdr[i];
            if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
            const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
            static_cast<decltype(segments)*>(out)->emplace_back(begin, begin + header.p_memsz);
          }
          return 1;  // the first entry is the program itself
        },
        &segments);
    return segments;
  }();
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  return std::any_of(kSegments.begin(), kSegments.end(), [&](const auto& segment) {
    return value >= segment.first && value < segment.second;
  });
}

void check_atomic(const void* address, std::size_t bytes) {
  check_access(address, bytes, Access::atomic, true);
}

}  // namespace switchyard::gpu_simulator

// What g++ calls. Vector loads of 16 bytes arrive as read16; larger copies as ranges.
#define GPU_SIMULATOR_CALLBACKS(bytes)                                                       \
  void __tsan_read##bytes(void* address) {                                                   \
    switchyard::gpu_simulator::check_access(address, bytes,                                  \
                                            switchyard::gpu_simulator::Access::read, true);  \
  }                                                                                          \
  void __tsan_write##bytes(void* address) {                                                  \
    switchyard::gpu_simulator::check_access(address, bytes,                                  \
                                            switchyard::gpu_simulator::Access::write, true); \
  }
#define GPU_SIMULATOR_UNALIGNED_CALLBACKS(bytes)                                              \
  void __tsan_unaligned_read##bytes(void* address) {                                          \
    switchyard::gpu_simulator::check_access(address, bytes,                                   \
                                            switchyard::gpu_simulator::Access::read, false);  \
  }                                                                                           \
  void __tsan_unaligned_write##bytes(void* address) {                                         \
    switchyard::gpu_simulator::check_access(address, bytes,                                   \
                                            switchyard::gpu_simulator::Access::write, false); \
  }
extern "C" {
GPU_SIMULATOR_CALLBACKS(1)
GPU_SIMULATOR_CALLBACKS(2)
GPU_SIMULATOR_CALLBACKS(4)
GPU_SIMULATOR_CALLBACKS(8)
GPU_SIMULATOR_CALLBACKS(16)
GPU_SIMULATOR_UNALIGNED_CALLBACKS(2)
GPU_SIMULATOR_UNALIGNED_CALLBACKS(4)
GPU_SIMULATOR_UNALIGNED_CALLBACKS(8)
GPU_SIMULATOR_UNALIGNED_CALLBACKS(16)
void __tsan_read_range(void* address, std::size_t bytes) {
  switchyard::gpu_simulator::check_access(address, bytes, switchyard::gpu_simulator::Access::read,
                                          false);
}
void __tsan_write_range(void* address, std::size_t bytes) {
  switchyard::gpu_simulator::check_access(address, bytes, switchyard::gpu_simulator::Access::write,
                                          false);
}
void __tsan_init() {}
void __tsan_func_entry(void* /*caller*/) {}
void __tsan_func_exit() {}
// The guards of static variables in host code.
unsigned char __tsan_atomic8_load(const volatile unsigned char* address, int order) {
  return __atomic_load_n(address, order);
}
void __tsan_vptr_update(void* /*address*/, void* /*value*/) {}
}
