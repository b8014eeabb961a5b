// A stack that runs a function and can be left and entered again: one CUDA thread.
#pragma once

#include <cstddef>

namespace switchyard::gpu_simulator {

class Fibre {
 public:
  static constexpr std::size_t kStackBytes = 64 * 1024;

  Fibre();
  ~Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  // The next resume() calls entry() on an empty stack, whatever was on it. entry() must not return:
  // it ends with suspend(), and nobody resumes the fibre again.
  void start(void (*entry)());
  // From the scheduler: runs the fibre until it calls suspend().
  void resume();
  // From a fibre: returns when the scheduler resumes it.
  static void suspend();

  [[nodiscard]] const std::byte* stack() const { return stack_; }

 private:
  std::byte* stack_;  // above one page that nobody may touch
  void* stack_pointer_ = nullptr;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
};

}  // namespace switchyard::gpu_simulator
