// What watches the memory of simulated kernels; implemented once per build.
#pragma once

#include <cstddef>

namespace switchyard::gpu_simulator {

// The arena of device memory was mapped; nothing is allocated in it.
void watch_arena(std::byte* arena, std::size_t bytes);
void watch_allocation(std::byte* memory, std::size_t bytes);
void watch_release(std::byte* memory, std::size_t bytes);
void watch_host_write(std::byte* memory, std::size_t bytes);

// Around a launch, on the thread that runs it: kernels may touch device memory, host code may not.
// Implemented with the memory itself.
void begin_launch();
void end_launch();

void watch_launch(const void* kernel);
// Shared memory of a new block holds nothing: reading it before writing is an error.
void watch_block(std::byte* dynamic_shared, std::size_t bytes);
void watch_block_barrier();

}  // namespace switchyard::gpu_simulator
