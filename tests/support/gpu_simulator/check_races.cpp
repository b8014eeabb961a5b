// The build with -fsanitize=thread, which lets us see every access (access.cpp). Each byte of
// device and shared memory remembers who wrote and who read it last; two accesses of different
// threads, at least one a write, need a barrier between them: a block barrier inside a block,
// __syncwarp inside a warp, the end of the launch otherwise.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/gpu_simulator/access.h"
#include "support/gpu_simulator/memory_check.h"
#include "support/gpu_simulator/schedule.h"
#include "support/gpu_simulator/symbols.h"

namespace switchyard::gpu_simulator {

namespace {

// Who accessed a byte. `serial` counts launches, blocks and block barriers, so it says which block
// and which stretch between two barriers; 0: nobody.
enum Sharers : unsigned { one_thread, one_warp, one_block, several_blocks };
struct Stamp {
  std::uint64_t serial : 38;
  std::uint64_t warp_epoch : 12;
  std::uint64_t thread : 10;
  std::uint64_t atomic : 1;
  std::uint64_t sharers : 2;  // how far apart the threads of this stamp are
};
static_assert(sizeof(Stamp) == 8);
constexpr std::uint64_t kMaxSerial = (std::uint64_t{1} << 38) - 1;
constexpr unsigned kMaxWarpEpoch = (1U << 12) - 1;
constexpr unsigned kWarp = 32;

struct Cell {
  Stamp write;
  Stamp read;
};

enum class Content : std::uint8_t { not_allocated, uninitialised, initialised };

// A range of memory with a cell for every byte; pages come into being when they are touched.
struct Region {
  const std::byte* begin = nullptr;
  std::size_t bytes = 0;
  Cell* cells = nullptr;

  Region() = default;
  Region(const std::byte* first, std::size_t size)
      : begin(first), bytes(size), cells(static_cast<Cell*>(map(size * sizeof(Cell)))) {}
  static void* map(std::size_t size) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return memory;
  }
  [[nodiscard]] bool holds(const std::byte* address) const {
    return address >= begin && address < begin + bytes;
  }
};

struct Watch {
  Region device;
  Content* content = nullptr;                // of every byte of `device`
  std::map<std::byte*, Region> variables;    // every __shared__ variable met so far
  std::vector<const Region*> shared;         // those of the running kernel
  const std::byte* dynamic_begin = nullptr;  // in `device`; shared by one block
  const std::byte* dynamic_end = nullptr;
  std::uint64_t serial = 1;
  std::uint64_t launch_serial = 1;
  std::uint64_t block_serial = 1;
  std::vector<std::pair<std::uint64_t, std::size_t>> blocks;  // first serial of each, in order
};
Watch g_watch;

const Region* shared_variable_at(const std::byte* address, std::size_t bytes) {
  for (const Region* variable : g_watch.shared) {
    if (variable->holds(address) && variable->holds(address + bytes - 1)) return variable;
  }
  return nullptr;
}

std::string describe(const std::byte* address, bool is_shared) {
  if (!is_shared) return fmt::format("device memory at {}", static_cast<const void*>(address));
  if (g_watch.device.holds(address)) {
    return fmt::format("dynamic shared memory, byte {}", address - g_watch.dynamic_begin);
  }
  return fmt::format("shared memory {}", name_of(address));
}

[[noreturn]] void report_race(const std::byte* address, bool is_shared, Access access,
                              const RunningThread& self, const Stamp& other, bool other_wrote) {
  const auto later = std::upper_bound(
      g_watch.blocks.begin(), g_watch.blocks.end(), std::uint64_t{other.serial},
      [](std::uint64_t serial, const auto& block) { return serial < block.first; });
  const std::size_t block = later == g_watch.blocks.begin() ? 0 : std::prev(later)->second;
  const char* did = other.atomic != 0 ? "updated atomically" : other_wrote ? "wrote" : "read";
  fail(fmt::format("race on {}: thread {} {} what thread {} of block {} {} with no barrier between",
                   describe(address, is_shared), thread_name(self.thread), verb(access),
                   thread_name(other.thread), block_name(block), did));
}

bool same_warp(const Stamp& stamp, const RunningThread& self) {
  return stamp.thread / kWarp == self.thread / kWarp;
}

// Has everything that the stamp stands for happened before what the thread does now?
bool is_ordered(const Stamp& stamp, const RunningThread& self, bool is_shared) {
  if (stamp.serial < g_watch.launch_serial) return true;
  if (stamp.serial < g_watch.block_serial) return is_shared;  // another block's
  if (stamp.sharers == several_blocks) return false;
  if (stamp.serial != g_watch.serial) return true;
  if (stamp.sharers == one_block || !same_warp(stamp, self)) return false;
  if (stamp.warp_epoch != self.warp_epoch) return true;
  return stamp.sharers == one_thread && stamp.thread == self.thread;
}

Stamp stamp_of(const RunningThread& self, bool is_atomic) {
  Stamp stamp{};
  stamp.serial = g_watch.serial & kMaxSerial;
  stamp.warp_epoch = self.warp_epoch & kMaxWarpEpoch;
  stamp.thread = self.thread & 0x3FFU;
  stamp.atomic = is_atomic ? 1U : 0U;
  return stamp;
}

// The stamp of the thread, which also stands for those before it that nothing orders yet.
Stamp join(const Stamp& before, const RunningThread& self, bool is_atomic, bool is_shared) {
  Stamp stamp = stamp_of(self, is_atomic);
  if (is_ordered(before, self, is_shared)) return stamp;
  if (before.serial < g_watch.block_serial || before.sharers == several_blocks) {
    stamp.sharers = several_blocks;
  } else {
    stamp.sharers = before.sharers == one_block || !same_warp(before, self) ? one_block : one_warp;
  }
  return stamp;
}

void check_byte(const std::byte* address, Cell& cell, bool is_shared, Access access,
                const RunningThread& self) {
  if (access == Access::read) {
    if (!is_ordered(cell.write, self, is_shared)) {
      report_race(address, is_shared, access, self, cell.write, true);
    }
    cell.read = join(cell.read, self, false, is_shared);
    return;
  }
  const bool both_atomic = access == Access::atomic && cell.write.atomic != 0;
  if (!both_atomic && !is_ordered(cell.write, self, is_shared)) {
    report_race(address, is_shared, access, self, cell.write, true);
  }
  if (!is_ordered(cell.read, self, is_shared)) {
    report_race(address, is_shared, access, self, cell.read, false);
  }
  cell.write = access == Access::atomic
                   ? join(both_atomic ? cell.write : Stamp{}, self, true, is_shared)
                   : stamp_of(self, false);
}

void check_shared(const std::byte* address, Cell* cells, std::size_t bytes, Access access,
                  const RunningThread& self) {
  for (std::size_t i = 0; i < bytes; ++i) {
    if (access != Access::write && cells[i].write.serial < g_watch.block_serial) {
      fail(fmt::format("thread {} {} {}, which its block has not written", thread_name(self.thread),
                       verb(access), describe(address + i, true)));
    }
    check_byte(address + i, cells[i], true, access, self);
  }
}

void check_device(const std::byte* address, std::size_t offset, std::size_t bytes, Access access,
                  const RunningThread& self) {
  Content* content = g_watch.content + offset;
  for (std::size_t i = 0; i < bytes; ++i) {
    if (content[i] == Content::not_allocated) {
      fail(fmt::format(
          "thread {} {} {} bytes at {}, byte {} of which lies outside every allocation",
          thread_name(self.thread), verb(access), bytes, static_cast<const void*>(address), i));
    }
    if (access == Access::write) {
      content[i] = Content::initialised;
    } else if (content[i] == Content::uninitialised) {
      fail(fmt::format("thread {} {} {}, which nobody has written", thread_name(self.thread),
                       verb(access), describe(address + i, false)));
    }
    check_byte(address + i, g_watch.device.cells[offset + i], false, access, self);
  }
}

}  // namespace

void check_access(const void* memory, std::size_t bytes, Access access, bool aligned) {
  const auto* address = static_cast<const std::byte*>(memory);
  const RunningThread* self = running_thread();
  const bool in_device = g_watch.device.holds(address);
  if (self == nullptr) {
    if (!in_device) return;
    std::fprintf(stderr, "host code accesses device memory at %p\n", memory);
    std::abort();
  }
  if (!in_device && (is_on_own_stack(address) || is_position(address))) return;
  if (self->warp_epoch > kMaxWarpEpoch) {
    fail(fmt::format("more than {} __syncwarp between two block barriers: not simulated",
                     kMaxWarpEpoch));
  }
  if (aligned && reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    fail(fmt::format("thread {} {} {} bytes at {}: not aligned", thread_name(self->thread),
                     verb(access), bytes, memory));
  }
  if (in_device) {
    const auto offset = static_cast<std::size_t>(address - g_watch.device.begin);
    if (address >= g_watch.dynamic_begin && address + bytes <= g_watch.dynamic_end) {
      check_shared(address, g_watch.device.cells + offset, bytes, access, *self);
    } else {
      check_device(address, offset, bytes, access, *self);
    }
  } else if (const Region* variable = shared_variable_at(address, bytes)) {
    check_shared(address, variable->cells + (address - variable->begin), bytes, access, *self);
  } else if (access != Access::read || !is_constant(address)) {
    fail(fmt::format("thread {} {} {} bytes at {}, which is not memory of the device",
                     thread_name(self->thread), verb(access), bytes, memory));
  }
}

void watch_arena(std::byte* arena, std::size_t bytes) {
  g_watch.device = Region(arena, bytes);
  g_watch.content = static_cast<Content*>(Region::map(bytes));
}
void watch_allocation(std::byte* memory, std::size_t bytes) {
  std::fill_n(g_watch.content + (memory - g_watch.device.begin), bytes, Content::uninitialised);
}
void watch_release(std::byte* memory, std::size_t bytes) {
  std::fill_n(g_watch.content + (memory - g_watch.device.begin), bytes, Content::not_allocated);
}
void watch_host_write(std::byte* memory, std::size_t bytes) {
  std::fill_n(g_watch.content + (memory - g_watch.device.begin), bytes, Content::initialised);
}

void watch_launch(const void* kernel) {
  g_watch.shared.clear();
  for (const SharedVariable& variable : shared_variables(kernel)) {
    const auto [entry, is_new] = g_watch.variables.try_emplace(variable.begin);
    if (is_new) entry->second = Region(variable.begin, variable.bytes);
    g_watch.shared.push_back(&entry->second);
  }
  g_watch.launch_serial = ++g_watch.serial;
  g_watch.blocks.clear();
}
void watch_block(std::byte* dynamic_shared, std::size_t bytes) {
  g_watch.block_serial = ++g_watch.serial;
  g_watch.blocks.emplace_back(g_watch.serial, running_block());
  g_watch.dynamic_begin = dynamic_shared;
  g_watch.dynamic_end = dynamic_shared + bytes;
}
void watch_block_barrier() {
  ++g_watch.serial;
}

}  // namespace switchyard::gpu_simulator
