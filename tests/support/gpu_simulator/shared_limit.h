// How much shared memory a launch may take.
#pragma once

#include <cstddef>

namespace switchyard::gpu_simulator {

// The kernel's own __shared__ variables and the launch's dynamic bytes together: 48 KiB, or what
// allow_shared_bytes (simulator.h) let it have.
bool may_share(const void* kernel, std::size_t dynamic_bytes);

}  // namespace switchyard::gpu_simulator
