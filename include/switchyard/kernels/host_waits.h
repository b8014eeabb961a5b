// How often kernels made the host wait for a GPU.
#pragma once

#include <cstdint>

namespace switchyard::kernels::cuda {

void count_host_synchronization();
// Since this process started; 0 without CUDA.
[[nodiscard]] std::int64_t num_host_synchronizations();

}  // namespace switchyard::kernels::cuda
