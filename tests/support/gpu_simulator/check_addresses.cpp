// The build with AddressSanitizer, which finds the accesses; here it is told what is allocated.
#include <sanitizer/asan_interface.h>

#include <cstddef>
#include <cstdint>

#include "support/gpu_simulator/memory_check.h"
#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/symbols.h"

namespace switchyard::gpu_simulator {

namespace {

const void* g_kernel = nullptr;

// Fills all bytes, the bands that the sanitizer put between variables too.
__attribute__((no_sanitize("address"))) void fill(std::byte* begin, const std::byte* end) {
  for (volatile std::byte* byte = begin; byte != end; ++byte) *byte = std::byte{0xFF};
}

}  // namespace

void watch_arena(std::byte* arena, std::size_t bytes) {
  __asan_poison_memory_region(arena, bytes);
}
void watch_allocation(std::byte* memory, std::size_t bytes) {
  __asan_unpoison_memory_region(memory, bytes);
}
void watch_release(std::byte* memory, std::size_t bytes) {
  __asan_poison_memory_region(memory, bytes);
}
void watch_host_write(std::byte* /*memory*/, std::size_t /*bytes*/) {}

void watch_launch(const void* kernel) {
  g_kernel = kernel;
}

void watch_block(std::byte* dynamic_shared, std::size_t bytes) {
  for (const SharedVariable& variable : shared_variables(g_kernel)) {
    fill(variable.begin, variable.begin + variable.bytes);
  }
  fill(dynamic_shared, dynamic_shared + bytes);
}
void watch_block_barrier() {}

void check_atomic(const void* /*address*/, std::size_t /*bytes*/) {}

}  // namespace switchyard::gpu_simulator

// A kernel that is stopped half-way leaves its fibres behind, and what they own.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0";
}
