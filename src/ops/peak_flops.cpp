#include "switchyard/ops/peak_flops.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>

#include "switchyard/ops/device_time.h"

namespace switchyard::ops {

namespace {

// The best of three products at least, and of as many as fit into so many seconds: the first one
// also sets up the library.
double best_seconds(std::int64_t size, const at::TensorOptions& options, double seconds_to_spend) {
  const at::Tensor a = at::full({size, size}, 0.5, options);
  const at::Tensor b = at::full({size, size}, 0.25, options);
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

}  // namespace

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
