// Counts the bytes that CPU tensors hold, those allocated while it lives.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace switchyard::testing {

class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : inner_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(inner_, kPriority); }
  CountingAllocator(const CountingAllocator&) = delete;
  CountingAllocator& operator=(const CountingAllocator&) = delete;

  c10::DataPtr allocate(std::size_t num_bytes) override {
    c10::DataPtr memory = inner_->allocate(num_bytes);
    void* const data = memory.get();
    if (data == nullptr) return memory;
    live_bytes += static_cast<std::int64_t>(num_bytes);
    peak_bytes = std::max(peak_bytes.load(), live_bytes.load());
    const std::scoped_lock lock(mutex_);
    blocks().emplace(data, Block{std::move(memory), static_cast<std::int64_t>(num_bytes)});
    // oneDNN asks for raw memory, which has no context but itself.
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* target, const void* source, std::size_t num_bytes) const override {
    std::memcpy(target, source, num_bytes);
  }

  static inline std::atomic<std::int64_t> live_bytes{0};
  static inline std::atomic<std::int64_t> peak_bytes{0};

 private:
  static constexpr std::uint8_t kPriority = 1;
  struct Block {
    c10::DataPtr memory;
    std::int64_t num_bytes;
  };
  static void release(void* data) {
    const std::scoped_lock lock(mutex_);
    const auto block = blocks().find(data);
    live_bytes -= block->second.num_bytes;
    blocks().erase(block);
  }

  // Tensors may outlive the allocator, and those in static variables the end of the program.
  static std::unordered_map<void*, Block>& blocks() {
    static auto* const blocks = new std::unordered_map<void*, Block>;
    return *blocks;
  }
  static inline std::mutex mutex_;

  c10::Allocator* inner_;
};

}  // namespace switchyard::testing
