// The arithmetic that a device can do at best.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::ops {

// Floating-point operations per second of the best of several products of two square matrices of
// this dtype: what "100 %" of the model's FLOP use means here. They are 1024 wide; on a GPU wider,
// up to 8192, until a product takes half a millisecond. Takes about 0.2 s.
[[nodiscard]] double measure_peak_flops(at::ScalarType dtype, at::Device device = at::kCPU);

}  // namespace switchyard::ops
