// What the program's own symbol table says about kernels.
#pragma once

#include <cstddef>
#include <vector>

namespace switchyard::gpu_simulator {

struct SharedVariable {
  std::byte* begin = nullptr;
  std::size_t bytes = 0;
};

// The __shared__ variables of a kernel: static variables inside that very function. (g++ 12 ignores
// section attributes inside templates, so they cannot be told apart by a section.)
const std::vector<SharedVariable>& shared_variables(const void* kernel);

}  // namespace switchyard::gpu_simulator
