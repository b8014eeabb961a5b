// Normal random numbers for initial weights, as a pure function of (key, tensor, element index).
#pragma once

#include <cstdint>

#include "switchyard/core/philox.h"

namespace switchyard::kernels {

template <typename T>
struct InitializeNormalParams {
  T* out = nullptr;        // [count] elements begin .. begin + count of a logical tensor
  std::int64_t begin = 0;  // a multiple of 4
  std::int64_t count = 0;
  PhiloxKey key;             // from the run's seed
  std::uint64_t tensor = 0;  // hash of the logical tensor's name
  double std = 0.0;
};

namespace cpu {
// Box and Muller's transform ("A Note on the Generation of Random Normal Deviates", 1958) of the
// four Philox words of counter (index / 4, tensor), in double: values do not depend on T beyond
// its rounding, on vectorisation or on how a tensor is cut into calls.
void initialize_normal(const InitializeNormalParams<float>& params);
void initialize_normal(const InitializeNormalParams<double>& params);
}  // namespace cpu

}  // namespace switchyard::kernels
