// Device memory of the simulated GPU: one arena, cut from the front, with wide bands between the
// allocations.
#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>
#include <map>
#include <new>

#include "support/gpu_simulator/memory_check.h"
#include "support/gpu_simulator/simulator.h"

namespace switchyard::gpu_simulator {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{1} << 30;
constexpr std::size_t kBandBytes = 4096;  // an index that is wrong by a row must hit no neighbour
constexpr std::size_t kAlignment = 256;   // as cudaMalloc

class Arena {
 public:
  Arena() {
    void* memory = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<std::byte*>(memory);
    watch_arena(begin_, kArenaBytes);
  }

  std::byte* allocate(std::size_t bytes) {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (used_ + rounded + 2 * kBandBytes > kArenaBytes) throw std::bad_alloc();
    std::byte* memory = begin_ + used_ + kBandBytes;
    used_ += kBandBytes + rounded;
    watch_allocation(memory, bytes);
    std::memset(memory, 0xFF, bytes);
    live_[memory] = bytes;
    return memory;
  }

  void release(std::byte* memory) {
    const auto found = live_.find(memory);
    if (found == live_.end()) throw KernelError("released device memory that is not allocated");
    watch_release(memory, found->second);
    live_.erase(found);
    // Memory is used again only when all is free: a stale pointer meets no new allocation.
    if (live_.empty()) used_ = 0;
  }

  void check(const std::byte* memory, std::size_t bytes, const char* what) const {
    const auto next = live_.upper_bound(const_cast<std::byte*>(memory));
    if (next != live_.begin()) {
      const auto& [begin, size] = *std::prev(next);
      if (memory + bytes <= begin + size) return;
    }
    throw KernelError(
        fmt::format("{} of {} bytes at {}: not within one allocation of device memory", what, bytes,
                    static_cast<const void*>(memory)));
  }

 private:
  std::byte* begin_ = nullptr;
  std::size_t used_ = 0;
  std::map<std::byte*, std::size_t> live_;
};

Arena& arena() {
  static Arena instance;
  return instance;
}

}  // namespace

void* allocate(std::size_t bytes) {
  return arena().allocate(bytes);
}
void release(void* memory) {
  if (memory != nullptr) arena().release(static_cast<std::byte*>(memory));
}
void check_device_range(const void* memory, std::size_t bytes, const char* what) {
  if (bytes > 0) arena().check(static_cast<const std::byte*>(memory), bytes, what);
}
void* host_view(void* memory) {
  return memory;
}
const void* host_view(const void* memory) {
  return memory;
}
void begin_launch() {}
void end_launch() {}
void count_host_wait() {}
void count_copy_to_host() {}
void mark_initialised(void* memory, std::size_t bytes) {
  watch_host_write(static_cast<std::byte*>(memory), bytes);
}

}  // namespace switchyard::gpu_simulator
