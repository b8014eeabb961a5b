#include "switchyard/train/machine.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "switchyard/core/host.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/device_time.h"

namespace switchyard::train {
namespace {

int cores_of_affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int num_available_cores() {
  const int allowed = std::max(1, cores_of_affinity());
  const auto quota = read_host_facts().cpu_quota;
  return quota ? std::clamp(static_cast<int>(std::ceil(*quota)), 1, allowed) : allowed;
}

void set_up_threads() {
  if (std::getenv("OMP_NUM_THREADS") == nullptr) at::set_num_threads(num_available_cores());
  ops::install_parallel_backend();
}

std::uint64_t resident_bytes() {
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string cpu_model() {
  const std::string model = read_host_facts().cpu_model;
  return model.empty() ? "unknown" : model;
}

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
    const double seconds = ops::device_seconds(device, [&] { at::mm_out(product, a, b); });
    spent += seconds;
    best_seconds = repeat == 0 ? seconds : std::min(best_seconds, seconds);
  }
  return 2.0 * std::pow(static_cast<double>(size), 3.0) / best_seconds;
}

}  // namespace switchyard::train
