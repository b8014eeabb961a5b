// What the memory checks ask about the launch in progress.
#pragma once

#include <cstddef>
#include <source_location>
#include <string>

#include "support/gpu_simulator/fibre.h"
#include "support/gpu_simulator/simulator.h"

namespace switchyard::gpu_simulator {

struct RunningThread {
  unsigned thread = 0;      // number within the block
  unsigned warp_epoch = 0;  // __syncwarp calls of its warp since the last block barrier
};

// Null while no kernel thread runs.
const RunningThread* running_thread();
// The stack of the kernel thread that this thread of the program runs, null while it runs none:
// other threads run host code meanwhile.
extern constinit thread_local const std::byte* running_stack;
inline bool is_on_own_stack(const void* address) {
  return running_stack != nullptr &&
         static_cast<std::size_t>(static_cast<const std::byte*>(address) - running_stack) <
             Fibre::kStackBytes;
}
// "kernel.cu:12"
std::string place_name(const std::source_location& where);
// "(1, 0, 0)"
std::string thread_name(unsigned thread);
std::string block_name(std::size_t block);
std::size_t running_block();  // its number within the grid

// Ends the launch with a KernelError; the running thread never continues.
[[noreturn]] void fail(const std::string& what);

}  // namespace switchyard::gpu_simulator
