// Has this program CUDA kernels, or their stubs?
#pragma once

namespace switchyard::kernels::cuda {

[[nodiscard]] bool is_built();

}  // namespace switchyard::kernels::cuda
