// What the current GPU is.
#pragma once

#include <string>

namespace switchyard::kernels {

struct GpuFacts {
  std::string name = {};  // "NVIDIA H100 80GB HBM3"
  int major = 0;          // compute capability
  int minor = 0;
  int num_multiprocessors = 0;
};

namespace cuda {
[[nodiscard]] GpuFacts gpu_facts();
}  // namespace cuda

}  // namespace switchyard::kernels
