// A few numbers of the host for a GPU, without a wait.
#pragma once

#include <cstddef>

#include "switchyard/kernels/stream.h"

namespace switchyard::kernels::cuda {

// Copies host bytes to the device as kernel arguments: queued in order, and the host memory may go
// at once. For a few kilobytes of metadata: a launch for every 2048 bytes.
void upload(void* device, const void* host, std::size_t bytes, Stream stream);

}  // namespace switchyard::kernels::cuda
