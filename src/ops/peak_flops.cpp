#include "switchyard/ops/peak_flops.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>

#include "switchyard/ops/device_time.h"

namespace switchyard::ops {

double measure_peak_flops(at::ScalarType dtype, at::Device device) {
  const std::int64_t size = device.is_cpu() ? 1024 : 8192;
  constexpr double kSeconds = 0.2;
  const at::NoGradGuard no_grad;
  const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(device);
  const at::Tensor a = at::full({size, size}, 0.5, options);
  const at::Tensor b = at::full({size, size}, 0.25, options);
  at::Tensor product = at::empty({size, size}, options);
  double best_seconds = 0.0;
  double spent = 0.0;
  // The first product also sets up the library; the best of all counts.
  for (int repeat = 0; repeat < 3 || spent < kSeconds; ++repeat) {
    const double seconds = device_seconds(device, [&] { at::mm_out(product, a, b); });
    spent += seconds;
    best_seconds = repeat == 0 ? seconds : std::min(best_seconds, seconds);
  }
  return 2.0 * std::pow(static_cast<double>(size), 3.0) / best_seconds;
}

}  // namespace switchyard::ops
