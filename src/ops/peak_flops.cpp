#include "switchyard/ops/peak_flops.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "switchyard/ops/device_time.h"

namespace switchyard::ops {

namespace {

// The best of three products at least, and of as many as fit into so many seconds: the first one
// also sets up the library.
double best_seconds(std::int64_t size, const at::TensorOptions& options, double seconds_to_spend) {
  // Random: multiplying constants takes less power, and GPUs then run faster than they ever train.
  const at::Tensor a = at::empty({size, size}, options).normal_();
  const at::Tensor b = at::empty({size, size}, options).normal_();
  at::Tensor product = at::empty({size, size}, options);
  double best = 0.0;
  double spent = 0.0;
  for (int repeat = 0; repeat < 3 || spent < seconds_to_spend; ++repeat) {
    const double seconds = device_seconds(options.device(), [&] { at::mm_out(product, a, b); });
    spent += seconds;
    best = repeat == 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

// Dense TFLOP/s, from NVIDIA's data sheets. The first entry whose name begins the GPU's counts.
struct KnownGpu {
  std::string_view name;
  double bf16;
  double fp32;
};
constexpr std::array kKnownGpus{
    KnownGpu{"NVIDIA GB200", 2500.0, 80.0},   KnownGpu{"NVIDIA B200", 2250.0, 75.0},
    KnownGpu{"NVIDIA GH200", 989.5, 67.0},    KnownGpu{"NVIDIA H200 NVL", 835.5, 60.0},
    KnownGpu{"NVIDIA H200", 989.5, 67.0},     KnownGpu{"NVIDIA H100 PCIe", 756.5, 51.0},
    KnownGpu{"NVIDIA H100 NVL", 835.5, 60.0}, KnownGpu{"NVIDIA H100", 989.5, 67.0},
    KnownGpu{"NVIDIA A100", 312.0, 19.5},     KnownGpu{"NVIDIA L40S", 362.0, 91.6},
};

}  // namespace

std::optional<double> specified_peak_flops(const GpuFacts& gpu, at::ScalarType dtype) {
  const auto known = std::find_if(kKnownGpus.begin(), kKnownGpus.end(), [&](const KnownGpu& entry) {
    return std::string_view(gpu.name).starts_with(entry.name);
  });
  if (known == kKnownGpus.end()) return std::nullopt;
  if (dtype == at::kBFloat16) return known->bf16 * 1e12;
  if (dtype == at::kFloat) return known->fp32 * 1e12;
  return std::nullopt;
}

PeakFlops peak_flops(at::ScalarType dtype, at::Device device) {
  PeakFlops peak{.source = "measured product", .measured = measure_peak_flops(dtype, device)};
  peak.per_second = peak.measured;
  const std::optional<GpuFacts> gpu = gpu_facts(device);
  if (!gpu) return peak;
  if (const std::optional<double> specified = specified_peak_flops(*gpu, dtype)) {
    peak.per_second = *specified;
    peak.source = "data sheet of " + gpu->name;
    peak.is_of_data_sheet = true;
  }
  return peak;
}

double measure_peak_flops(at::ScalarType dtype, at::Device device) {
  constexpr double kSeconds = 0.2;
  constexpr double kLong = 5e-3;  // beside which starting a product is nothing
  const at::NoGradGuard no_grad;
  const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(device);
  std::int64_t size = 1024;
  if (!device.is_cpu()) {
    while (size < 8192 && best_seconds(size, options, 0.0) < kLong) size *= 2;
  }
  return 2.0 * std::pow(static_cast<double>(size), 3.0) / best_seconds(size, options, kSeconds);
}

}  // namespace switchyard::ops
