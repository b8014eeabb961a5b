// What this process runs on: cores, memory, and the arithmetic it can do at best.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace switchyard::train {

// Cores this process may keep busy: its affinity mask, less where a cgroup's CPU quota allows less
// (rounded up). At least 1.
[[nodiscard]] int num_available_cores();

// Makes torch use num_available_cores() threads (OMP_NUM_THREADS, when set, wins) and serves our
// own parallel loops from the same pool. Once per program.
void set_up_threads();

// Resident memory of this process; 0 when the kernel does not tell.
[[nodiscard]] std::uint64_t resident_bytes();

// "AMD EPYC 9R14", or "unknown".
[[nodiscard]] std::string cpu_model();

// Floating-point operations per second of the best of several products of two square matrices of
// this dtype (1024 wide, 8192 on a GPU): what "100 %" of the model's FLOP use means here. Takes
// about 0.2 s.
[[nodiscard]] double measure_peak_flops(at::ScalarType dtype, at::Device device = at::kCPU);

}  // namespace switchyard::train
