// Runs one of the small kernels on random values.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "support/device_buffer.h"
#include "support/gpu_simulator/tests/kernels.h"

namespace switchyard::gpu_simulator::testing {

using Kernel = void (*)(const Arrays&);

inline constexpr int kCount = 256;

inline std::vector<int> random_values(int count, int limit = 1000) {
  std::mt19937 random(7);
  std::vector<int> values(static_cast<std::size_t>(count));
  for (int& value : values) value = static_cast<int>(random() % static_cast<unsigned>(limit));
  return values;
}

inline std::vector<int> run(Kernel kernel, const std::vector<int>& values,
                            std::int64_t num_outputs) {
  const switchyard::testing::DeviceBuffer<int> in(values);
  const switchyard::testing::DeviceBuffer<int> out(num_outputs, -1);
  kernel({in.data(), out.data(), static_cast<int>(values.size())});
  return out.host();
}

inline void run_wrong(Kernel kernel) {
  run(kernel, random_values(kCount), kCount);
}

}  // namespace switchyard::gpu_simulator::testing
