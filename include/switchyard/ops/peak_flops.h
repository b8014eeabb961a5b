// The arithmetic that a device can do at best.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "switchyard/ops/gpu_facts.h"

namespace switchyard::ops {

// Floating-point operations per second of the best of several products of two square matrices of
// random numbers of this dtype. They are 1024 wide; on a GPU wider, up to 8192, until a product
// takes 5 ms. Takes about 0.2 s.
[[nodiscard]] double measure_peak_flops(at::ScalarType dtype, at::Device device = at::kCPU);

// What NVIDIA's data sheet says of this GPU, dense, per second: bf16 on tensor cores with fp32
// sums, fp32 on ordinary ones (LibTorch uses no TF32 unless told to). None for what the table has
// not.
[[nodiscard]] std::optional<double> specified_peak_flops(const GpuFacts& gpu, at::ScalarType dtype);

// What "100 %" of the model's FLOP use means.
struct PeakFlops {
  double per_second = 0.0;
  std::string source = {};  // "data sheet of NVIDIA H200", "measured product"
  double measured = 0.0;    // beside it
  bool is_of_data_sheet = false;
};
[[nodiscard]] PeakFlops peak_flops(at::ScalarType dtype, at::Device device);

}  // namespace switchyard::ops
