#include "switchyard/ops/gpu_facts.h"

#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>

#include <map>
#include <mutex>

#include "switchyard/kernels/gpu_facts.h"
#include "switchyard/ops/device.h"

namespace switchyard::ops {

std::optional<GpuFacts> gpu_facts(c10::Device device) {
  if (!device.is_cuda() || !built_with_cuda() || !at::hasCUDA()) return std::nullopt;
  // Asked for before every product, and the driver takes a millisecond to answer.
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, GpuFacts> known;
  const std::scoped_lock lock(mutex);
  const auto [entry, is_new] = known.try_emplace(device.index());
  if (is_new) {
    const c10::DeviceGuard guard(device);
    const kernels::GpuFacts facts = kernels::cuda::gpu_facts();
    entry->second = {.name = facts.name,
                     .major = facts.major,
                     .minor = facts.minor,
                     .num_multiprocessors = facts.num_multiprocessors};
  }
  return entry->second;
}

bool has_grouped_mm_kernel(c10::ScalarType dtype, const std::optional<GpuFacts>& gpu) {
  return dtype == at::kBFloat16 && (!gpu || gpu->major == 9 || gpu->major == 10);
}

}  // namespace switchyard::ops
