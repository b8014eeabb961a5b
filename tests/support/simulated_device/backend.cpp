// What LibTorch asks a device type for beside operators: memory, devices with streams and events,
// and the CUDA hooks.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "support/simulated_device/memory.h"
#include "support/simulated_device/simulated_device.h"
#include "support/simulated_device/traffic.h"

namespace switchyard::simulated_device {
namespace {

thread_local c10::DeviceIndex current_device = 0;

c10::Device on(c10::DeviceIndex index) {
  return {c10::kCUDA, index < 0 ? current_device : index};
}

std::int64_t first_byte_limit() {
  const char* text = std::getenv("SWITCHYARD_SIMULATED_DEVICE_BYTES");
  return text == nullptr ? 0 : std::atoll(text);
}

// ---- Memory

class DeviceMemory final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(std::size_t num_bytes) override {
    const c10::Device device = on(-1);
    if (num_bytes == 0) return {nullptr, nullptr, &release, device};
    {
      const std::scoped_lock lock(mutex_);
      Use& use = uses_.at(static_cast<std::size_t>(device.index()));
      const auto asked = static_cast<std::int64_t>(num_bytes);
      TORCH_CHECK_WITH(OutOfMemoryError, limit_ == 0 || use.bytes + asked <= limit_,
                       "CUDA out of memory. Tried to allocate ", num_bytes, " bytes on ", device,
                       ", which holds ", use.bytes, " of ", limit_);
      use.bytes += asked;
      use.peak_bytes = std::max(use.peak_bytes, use.bytes);
    }
    void* const memory = gpu_simulator::allocate(num_bytes);
    const std::scoped_lock lock(mutex_);
    blocks_[memory] = {device.index(), static_cast<std::int64_t>(num_bytes)};
    return {memory, memory, &release, device};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* target, const void* source, std::size_t num_bytes) const override {
    std::memcpy(host_view(target), host_view(source), num_bytes);
  }

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t /*pool*/) override {}
  void recordStream(const c10::DataPtr& /*memory*/, c10::Stream /*stream*/) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    const std::scoped_lock lock(mutex_);
    const Use& use = uses_.at(static_cast<std::size_t>(on(device).index()));
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0].current = use.bytes;
    stats.allocated_bytes[0].peak = use.peak_bytes;
    return stats;
  }
  // Free, and all there is.
  std::pair<std::size_t, std::size_t> getMemoryInfo(c10::DeviceIndex device) override {
    constexpr std::int64_t kWithoutLimit = std::int64_t{1} << 40;
    const std::scoped_lock lock(mutex_);
    const std::int64_t all = limit_ == 0 ? kWithoutLimit : limit_;
    const std::int64_t used = uses_.at(static_cast<std::size_t>(on(device).index())).bytes;
    return {static_cast<std::size_t>(all - used), static_cast<std::size_t>(all)};
  }
  void resetAccumulatedStats(c10::DeviceIndex /*device*/) override {}
  void resetPeakStats(c10::DeviceIndex device) override {
    const std::scoped_lock lock(mutex_);
    Use& use = uses_.at(static_cast<std::size_t>(on(device).index()));
    use.peak_bytes = use.bytes;
  }

  void set_limit(std::int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    limit_ = bytes;
  }
  [[nodiscard]] c10::DeviceIndex device_of(void* memory) {
    const std::scoped_lock lock(mutex_);
    return blocks_.at(memory).device;
  }

 private:
  struct Use {
    std::int64_t bytes = 0;
    std::int64_t peak_bytes = 0;
  };
  struct Block {
    c10::DeviceIndex device = 0;
    std::int64_t bytes = 0;
  };
  static void release(void* memory);

  std::mutex mutex_;
  std::array<Use, kNumDevices> uses_;
  std::map<void*, Block> blocks_;
  std::int64_t limit_ = first_byte_limit();
};

DeviceMemory& device_memory() {
  static auto* const instance = new DeviceMemory;
  return *instance;
}

void DeviceMemory::release(void* memory) {
  if (memory == nullptr) return;
  DeviceMemory& self = device_memory();
  const std::scoped_lock lock(self.mutex_);
  const auto block = self.blocks_.find(memory);
  self.uses_.at(static_cast<std::size_t>(block->second.device)).bytes -= block->second.bytes;
  self.blocks_.erase(block);
  gpu_simulator::release(memory);
}

// Host memory that the device may read while the host goes on.
class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t num_bytes) override {
    void* const memory = std::malloc(std::max<std::size_t>(1, num_bytes));
    const std::scoped_lock lock(mutex_);
    blocks_[static_cast<std::byte*>(memory)] = num_bytes;
    return {memory, memory, &release, c10::Device(c10::kCPU)};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* target, const void* source, std::size_t num_bytes) const override {
    std::memcpy(target, source, num_bytes);
  }
  [[nodiscard]] bool holds(const void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto* const address = static_cast<const std::byte*>(memory);
    auto next = blocks_.upper_bound(const_cast<std::byte*>(address));
    if (next == blocks_.begin()) return false;
    --next;
    return address < next->first + std::max<std::size_t>(1, next->second);
  }

 private:
  static void release(void* memory);

  std::mutex mutex_;
  std::map<std::byte*, std::size_t> blocks_;
};

PinnedMemory& pinned_memory() {
  static auto* const instance = new PinnedMemory;
  return *instance;
}

void PinnedMemory::release(void* memory) {
  const std::scoped_lock lock(pinned_memory().mutex_);
  pinned_memory().blocks_.erase(static_cast<std::byte*>(memory));
  std::free(memory);
}

// ---- Devices. All work is done when the call that asks for it returns: a stream is a name, an
// event a time.

using Clock = std::chrono::steady_clock;

// What a device that hangs does to events.
struct EventControl {
  std::atomic<Clock::time_point> pending_from = Clock::time_point::max();
  std::atomic<Clock::time_point> next_time = Clock::time_point::min();
  std::atomic<bool> is_blocked = false;

  void wait_while_blocked() const {
    while (is_blocked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  [[nodiscard]] Clock::time_point time() const {
    wait_while_blocked();
    const Clock::time_point set = next_time.load();
    return set == Clock::time_point::min() ? Clock::now() : set;
  }
  [[nodiscard]] bool is_done(Clock::time_point recorded) const {
    wait_while_blocked();
    return recorded < pending_from.load();
  }
};
EventControl& event_control() {
  static EventControl control;
  return control;
}

struct Devices final : c10::impl::DeviceGuardImplInterface {
  [[nodiscard]] c10::DeviceType type() const override { return c10::kCUDA; }
  [[nodiscard]] c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  [[nodiscard]] c10::Device getDevice() const override { return on(-1); }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.index() < kNumDevices, "there is no ", device);
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0) current_device = device.index();
  }
  [[nodiscard]] c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, on(device.index()));
  }
  // One stream does everything at once, so that all are the same.
  [[nodiscard]] c10::Stream getStreamFromGlobalPool(c10::Device device,
                                                    bool /*isHighPriority*/) const override {
    return getStream(device);
  }
  [[nodiscard]] c10::Stream getDefaultStream(c10::Device device) const override {
    return getStream(device);
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream stream) const override {
    return getStream(stream.device());
  }
  [[nodiscard]] void* getStreamNativeHandle(const c10::Stream /*stream*/) const override {
    return nullptr;
  }
  [[nodiscard]] c10::DeviceIndex deviceCount() const noexcept override { return kNumDevices; }

  void record(void** event, const c10::Stream& /*stream*/, const c10::DeviceIndex /*device*/,
              const c10::EventFlag /*flag*/) const override {
    if (*event == nullptr) *event = new Clock::time_point;
    *static_cast<Clock::time_point*>(*event) = event_control().time();
  }
  void destroyEvent(void* event, const c10::DeviceIndex /*device*/) const noexcept override {
    delete static_cast<Clock::time_point*>(event);
  }
  void block(void* /*event*/, const c10::Stream& /*stream*/) const override {}
  [[nodiscard]] bool queryEvent(void* event) const override {
    return event_control().is_done(*static_cast<Clock::time_point*>(event));
  }
  [[nodiscard]] bool queryStream(const c10::Stream& /*stream*/) const override { return true; }
  void synchronizeStream(const c10::Stream& /*stream*/) const override { count_wait("stream"); }
  void synchronizeEvent(void* /*event*/) const override { count_wait("event"); }
  void synchronizeDevice(const c10::DeviceIndex /*device*/) const override { count_wait("device"); }
  [[nodiscard]] double elapsedTime(void* from, void* to,
                                   const c10::DeviceIndex /*device*/) const override {
    return std::chrono::duration<double, std::milli>(*static_cast<Clock::time_point*>(to) -
                                                     *static_cast<Clock::time_point*>(from))
        .count();
  }
};
C10_REGISTER_GUARD_IMPL(CUDA, Devices)

// Before main(), and before anything asks for it.
[[maybe_unused]] const bool kRegistered = [] {
  c10::SetAllocator(c10::kCUDA, &device_memory());
  return true;
}();

}  // namespace

void hold_events(std::chrono::steady_clock::time_point from) {
  event_control().pending_from = from;
}

void set_event_time(std::chrono::steady_clock::time_point time) {
  event_control().next_time = time;
}

void block_events(bool is_blocked) {
  event_control().is_blocked = is_blocked;
}

void set_byte_limit(std::int64_t bytes) {
  device_memory().set_limit(bytes);
}

}  // namespace switchyard::simulated_device

// LibTorch looks for a class of this name.
namespace at {

struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs /*arguments*/) {}

  void init() const override {}
  [[nodiscard]] bool isBuilt() const override { return true; }
  [[nodiscard]] bool isAvailable() const override { return true; }
  [[nodiscard]] bool hasCUDA() const override { return true; }
  [[nodiscard]] long versionCUDART() const override { return 13000; }
  [[nodiscard]] int getNumGPUs() const override {
    return switchyard::simulated_device::kNumDevices;
  }
  [[nodiscard]] DeviceIndex deviceCount() const override {
    return switchyard::simulated_device::kNumDevices;
  }
  [[nodiscard]] DeviceIndex current_device() const override { return getCurrentDevice(); }
  [[nodiscard]] DeviceIndex getCurrentDevice() const override {
    return switchyard::simulated_device::current_device;
  }
  void setCurrentDevice(DeviceIndex device) const override { (void)exchangeDevice(device); }
  [[nodiscard]] DeviceIndex exchangeDevice(DeviceIndex device) const override {
    return std::exchange(switchyard::simulated_device::current_device, device);
  }
  [[nodiscard]] DeviceIndex maybeExchangeDevice(DeviceIndex device) const override {
    return device < 0 ? getCurrentDevice() : exchangeDevice(device);
  }
  [[nodiscard]] bool hasPrimaryContext(DeviceIndex /*device*/) const override { return true; }
  void deviceSynchronize(DeviceIndex /*device*/) const override {
    switchyard::simulated_device::count_wait("device");
  }
  [[nodiscard]] bool isPinnedPtr(const void* data) const override {
    return switchyard::simulated_device::pinned_memory().holds(data);
  }
  [[nodiscard]] Allocator* getPinnedMemoryAllocator() const override {
    return &switchyard::simulated_device::pinned_memory();
  }
  [[nodiscard]] Allocator* getCUDADeviceAllocator() const override {
    return &switchyard::simulated_device::device_memory();
  }
  [[nodiscard]] Device getDeviceFromPtr(void* data) const override {
    return {kCUDA, switchyard::simulated_device::device_memory().device_of(data)};
  }
  // Its numbers are not those of a GPU's.
  [[nodiscard]] const Generator& getDefaultGenerator(DeviceIndex /*device*/) const override {
    return detail::getDefaultCPUGenerator();
  }
};

REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
