// What GPUs are, and what LibTorch has for them.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>

namespace switchyard::ops {

struct GpuFacts {
  std::string name = {};  // "NVIDIA H100 80GB HBM3"
  int major = 0;          // compute capability
  int minor = 0;
  int num_multiprocessors = 0;
};

// None for a CPU, and where this program or this machine has no GPU.
[[nodiscard]] std::optional<GpuFacts> gpu_facts(c10::Device device);

// What at::_grouped_mm of LibTorch 2.11 has one kernel for: bf16 on compute capability 9.x
// and 10.x, fewer than 1024 groups. Everything else on a GPU is a loop over groups that waits for
// their sizes.
inline constexpr std::int64_t kGroupedMmMaxGroups = 1023;
// `gpu`: none is taken for one of those, as a plan for another machine does.
[[nodiscard]] bool has_grouped_mm_kernel(c10::ScalarType dtype, const std::optional<GpuFacts>& gpu);

}  // namespace switchyard::ops
