// Fibres by swapping stack pointers: ucontext's system call per switch would cost ten times more.
#include "support/gpu_simulator/fibre.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if !defined(__x86_64__)
#error \
    "the simulated GPU switches fibres on x86-64 only; tests/CMakeLists.txt leaves it out elsewhere"
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the callee-saved registers and the stack pointer, loads those of the other side.
asm(R"(
.text
.globl switchyard_switch_stack
.type switchyard_switch_stack, @function
switchyard_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size switchyard_switch_stack, .-switchyard_switch_stack
)");
extern "C" void switchyard_switch_stack(void** save, void* load);

namespace switchyard::gpu_simulator {
namespace {

constexpr std::size_t kPageBytes = 4096;

Fibre* g_running = nullptr;
void* g_scheduler_stack_pointer = nullptr;
void (*g_entry)() = nullptr;

#if defined(__SANITIZE_ADDRESS__)
const void* g_scheduler_stack = nullptr;
std::size_t g_scheduler_stack_bytes = 0;

void leaving(void** fake_stack, const void* stack, std::size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
void arrived_on_fibre() {
  __sanitizer_finish_switch_fiber(nullptr, &g_scheduler_stack, &g_scheduler_stack_bytes);
}
void arrived(void* fake_stack) {
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}
void forget_frames(std::byte* stack) {
  __asan_unpoison_memory_region(stack, Fibre::kStackBytes);
}
#else
const void* const g_scheduler_stack = nullptr;
constexpr std::size_t g_scheduler_stack_bytes = 0;

void leaving(void** /*fake_stack*/, const void* /*stack*/, std::size_t /*bytes*/) {}
void arrived_on_fibre() {}
void arrived(void* /*fake_stack*/) {}
void forget_frames(std::byte* /*stack*/) {}
#endif

[[noreturn]] void first_frame() {
  arrived_on_fibre();
  g_entry();
  std::abort();
}

}  // namespace

Fibre::Fibre() {
  void* memory = mmap(nullptr, kPageBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kPageBytes, PROT_NONE);
  stack_ = static_cast<std::byte*>(memory) + kPageBytes;
}

Fibre::~Fibre() {
  munmap(stack_ - kPageBytes, kPageBytes + kStackBytes);
}

void Fibre::start(void (*entry)()) {
  forget_frames(stack_);
  g_entry = entry;
  // What the switch pops: six registers, then the address to return to. A function starts with a
  // stack pointer 8 below a multiple of 16.
  auto* top = reinterpret_cast<std::uint64_t*>(stack_ + kStackBytes) - 2;
  top[0] = reinterpret_cast<std::uint64_t>(&first_frame);
  top[1] = 0;
  for (int i = 1; i <= 6; ++i) top[-i] = 0;
  stack_pointer_ = top - 6;
  fake_stack_ = nullptr;
}

void Fibre::resume() {
  g_running = this;
  void* fake_stack = nullptr;
  leaving(&fake_stack, stack_, kStackBytes);
  switchyard_switch_stack(&g_scheduler_stack_pointer, stack_pointer_);
  arrived(fake_stack);
}

void Fibre::suspend() {
  Fibre* self = g_running;
  leaving(&self->fake_stack_, g_scheduler_stack, g_scheduler_stack_bytes);
  switchyard_switch_stack(&self->stack_pointer_, g_scheduler_stack_pointer);
  arrived(self->fake_stack_);
}

}  // namespace switchyard::gpu_simulator
