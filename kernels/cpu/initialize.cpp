#include "switchyard/kernels/initialize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "switchyard/core/parallel.h"

namespace switchyard::kernels::cpu {
namespace {

constexpr std::int64_t kGroup = 4;  // normals per Philox counter

// Uniform in (0, 1): the half keeps the logarithm finite.
double open_uniform(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1.0p-32;
}

std::array<double, kGroup> normals(PhiloxKey key, std::uint64_t group, std::uint64_t tensor) {
  const PhiloxCounter words =
      philox(key, {static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32),
                   static_cast<std::uint32_t>(tensor), static_cast<std::uint32_t>(tensor >> 32)});
  std::array<double, kGroup> out{};
  for (std::size_t pair = 0; pair < 2; ++pair) {
    const double radius = std::sqrt(-2.0 * std::log(open_uniform(words[2 * pair])));
    const double angle = 2.0 * std::numbers::pi * open_uniform(words[2 * pair + 1]);
    out[2 * pair] = radius * std::cos(angle);
    out[2 * pair + 1] = radius * std::sin(angle);
  }
  return out;
}

template <typename T>
void fill(const InitializeNormalParams<T>& params) {
  const std::int64_t num_groups = (params.count + kGroup - 1) / kGroup;
  const auto first_group = static_cast<std::uint64_t>(params.begin / kGroup);
  parallel_for(num_groups, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      const auto values =
          normals(params.key, first_group + static_cast<std::uint64_t>(group), params.tensor);
      const std::int64_t start = group * kGroup;
      const std::int64_t length = std::min(kGroup, params.count - start);
      for (std::int64_t i = 0; i < length; ++i) {
        params.out[start + i] = static_cast<T>(params.std * values[static_cast<std::size_t>(i)]);
      }
    }
  });
}

}  // namespace

void initialize_normal(const InitializeNormalParams<float>& params) {
  fill(params);
}
void initialize_normal(const InitializeNormalParams<double>& params) {
  fill(params);
}

}  // namespace switchyard::kernels::cpu
