#include "support/simulated_device/memory.h"

#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "support/gpu_simulator/memory_check.h"
#include "support/simulated_device/traffic.h"

namespace switchyard::simulated_device {

constinit const std::byte* device_begin = nullptr;

namespace {

using gpu_simulator::KernelError;

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kAlignment = 256;  // as cudaMalloc

thread_local bool launching = false;  // this thread runs a kernel
thread_local const char* current_operator = "no operator";

std::size_t round_up(std::size_t bytes, std::size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

void install_fault_handler();

// Addresses are used again only when all have been used, so a stale one meets nothing.
class Arena {
 public:
  Arena() {
    const int file = memfd_create("simulated_device", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, kDeviceBytes) != 0) throw std::bad_alloc();
    begin_ = map(file, PROT_NONE);
    view_ = map(file, PROT_READ | PROT_WRITE);
    file_ = file;
    device_begin = begin_;
    install_fault_handler();
  }

  [[nodiscard]] bool is_view(const void* memory) const { return lies_in(view_, memory); }
  [[nodiscard]] std::byte* view(const void* memory) const {
    return view_ + (static_cast<const std::byte*>(memory) - begin_);
  }

  // Ends at a page, behind which another one stays empty: what reads on is seen.
  std::byte* allocate(std::size_t bytes) {
    const std::size_t used = round_up(bytes, kAlignment);
    const std::size_t pages = round_up(used, kPageBytes);
    const std::scoped_lock lock(mutex_);
    std::byte* const first = find_room(pages + kPageBytes);
    std::byte* const memory = first + (pages - used);
    live_[first] = {.memory = memory,
                    .bytes = bytes,
                    .pages = pages,
                    .span = current_span(),
                    .by = current_operator};
    next_ = static_cast<std::size_t>(first - begin_) + pages + kPageBytes;
    std::memset(view(first), 0xFF, pages);  // NaN in every float type
    return memory;
  }

  void release(void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto found = find(memory);
    if (found == live_.end() || found->second.memory != memory) {
      throw KernelError("released device memory that is not allocated");
    }
    close(found);
    fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, found->first - begin_,
              static_cast<off_t>(found->second.pages));
    live_.erase(found);
  }

  void check(const void* memory, std::size_t bytes, const char* what) {
    const std::scoped_lock lock(mutex_);
    const auto found = find(memory);
    if (found != live_.end() && static_cast<const std::byte*>(memory) + bytes <=
                                    found->second.memory + found->second.bytes) {
      return;
    }
    throw KernelError(fmt::format(
        "{} of {} bytes at {}: not within one allocation of device memory", what, bytes, memory));
  }

  // For the kernel that touched it. False: nothing is allocated there.
  bool open(const void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto found = find(memory);
    if (found == live_.end()) return false;
    mprotect(found->first, found->second.pages, PROT_READ | PROT_WRITE);
    opened_.push_back(found->first);
    found->second.is_open = true;
    return true;
  }

  void close_all() {
    const std::scoped_lock lock(mutex_);
    for (std::byte* first : opened_) {
      if (const auto found = live_.find(first); found != live_.end()) close(found);
    }
    opened_.clear();
  }

  [[nodiscard]] std::string describe(const void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto found = find(memory);
    if (found == live_.end()) return "device memory that is not allocated (any more)";
    const auto& [first, block] = *found;
    return fmt::format("byte {} of an allocation of {} bytes, made in {} by {}",
                       static_cast<const std::byte*>(memory) - block.memory, block.bytes,
                       block.span, block.by);
  }

 private:
  struct Block {
    std::byte* memory = nullptr;
    std::size_t bytes = 0;
    std::size_t pages = 0;  // in bytes
    const char* span = "";  // where and by which operator it was made
    const char* by = "";
    bool is_open = false;
  };
  using Blocks = std::map<std::byte*, Block>;

  static std::byte* map(int file, int protection) {
    void* memory = mmap(nullptr, kDeviceBytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
  }
  static bool lies_in(const std::byte* begin, const void* memory) {
    const auto* address = static_cast<const std::byte*>(memory);
    return address >= begin && address < begin + kDeviceBytes;
  }

  Blocks::iterator find(const void* memory) {
    const auto* address = static_cast<const std::byte*>(memory);
    const auto next = live_.upper_bound(const_cast<std::byte*>(address));
    if (next == live_.begin()) return live_.end();
    const auto block = std::prev(next);
    return address < block->first + block->second.pages ? block : live_.end();
  }

  void close(Blocks::iterator block) {
    if (!block->second.is_open) return;
    mprotect(block->first, block->second.pages, PROT_NONE);
    block->second.is_open = false;
  }

  std::byte* find_room(std::size_t bytes) {
    for (int round = 0; round < 2; ++round, next_ = 0) {
      while (next_ + bytes <= kDeviceBytes) {
        std::byte* const first = begin_ + next_;
        const auto after = live_.lower_bound(first);
        if (after == live_.end() || first + bytes <= after->first) return first;
        next_ = static_cast<std::size_t>(after->first - begin_) + after->second.pages + kPageBytes;
      }
    }
    throw std::bad_alloc();
  }

  std::mutex mutex_;
  int file_ = -1;
  std::byte* begin_ = nullptr;
  std::byte* view_ = nullptr;
  std::size_t next_ = 0;
  Blocks live_;
  std::vector<std::byte*> opened_;
};

// Never destroyed: tensors in static variables outlive main().
Arena& arena() {
  static auto* const instance = new Arena;
  return *instance;
}

struct sigaction g_before;

[[noreturn]] void stop(const void* address) {
  std::fprintf(stderr, "%s in %s, %s, touches %s\n", launching ? "a kernel" : "host code",
               current_span(), current_operator, arena().describe(address).c_str());
  std::array<void*, 32> frames{};
  const int num_frames = backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 2; i < num_frames; ++i) {  // behind the handler's own
    const std::string name = gpu_simulator::name_of(frames[static_cast<std::size_t>(i)]);
    if (!name.starts_with("0x")) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
  std::abort();
}

void handle_fault(int signal, siginfo_t* info, void* context) {
  if (is_device_memory(info->si_addr)) {
    if (launching && arena().open(info->si_addr)) return;
    stop(info->si_addr);
  }
  if ((g_before.sa_flags & SA_SIGINFO) != 0 && g_before.sa_sigaction != nullptr) {
    g_before.sa_sigaction(signal, info, context);
  } else {
    sigaction(signal, &g_before, nullptr);  // what faulted faults again, as without us
  }
}

void install_fault_handler() {
  struct sigaction action {};
  action.sa_sigaction = &handle_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &g_before);
}

}  // namespace

bool is_host_view(const void* memory) {
  return arena().is_view(memory);
}

CurrentOperator::CurrentOperator(const char* name) : before_(current_operator) {
  current_operator = name;
}
CurrentOperator::~CurrentOperator() {
  current_operator = before_;
}

}  // namespace switchyard::simulated_device

namespace switchyard::gpu_simulator {

using simulated_device::arena;

void* allocate(std::size_t bytes) {
  return arena().allocate(bytes);
}
void release(void* memory) {
  if (memory != nullptr) arena().release(memory);
}
void check_device_range(const void* memory, std::size_t bytes, const char* what) {
  if (bytes > 0) arena().check(memory, bytes, what);
}
void* host_view(void* memory) {
  return arena().view(memory);
}
const void* host_view(const void* memory) {
  return arena().view(memory);
}
void mark_initialised(void* /*memory*/, std::size_t /*bytes*/) {}

void begin_launch() {
  simulated_device::launching = true;
}
void end_launch() {
  arena().close_all();
  simulated_device::launching = false;
}

}  // namespace switchyard::gpu_simulator
