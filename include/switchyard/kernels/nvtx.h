// Ranges on the timeline of NVIDIA's profilers (NVTX); next to nothing while none is attached.
#pragma once

namespace switchyard::kernels::cuda {

// Ranges nest; each thread has its own.
void push_range(const char* name);
void pop_range();

}  // namespace switchyard::kernels::cuda
