// The accesses of kernels that are compiled with -fsanitize=thread.
#pragma once

#include <cstddef>

#include "support/gpu_simulator/simulator.h"

namespace switchyard::gpu_simulator {

enum class Access { read, write, atomic };

// "reads", "writes" or "updates"
const char* verb(Access access);

// Called before every access, of kernels and of the host code beside them; implemented once per
// program. `aligned`: the address must be a multiple of the bytes.
void check_access(const void* memory, std::size_t bytes, Access access, bool aligned);

// Held by the program in a segment that cannot be written.
bool is_constant(const std::byte* address);
// threadIdx and kin.
inline bool is_position(const std::byte* address) {
  const auto* begin = reinterpret_cast<const std::byte*>(&g_position);
  return address >= begin && address < begin + sizeof(g_position);
}

}  // namespace switchyard::gpu_simulator
