// What the parity tests share: a CUDA kernel, on a simulated or a real GPU, gives what the CPU
// kernel gives, up to rounding, and the same bits every time.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "support/device_buffer.h"
#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels::testing {

using switchyard::testing::DeviceBuffer;
using StorageTypes = ::testing::Types<float, double, BFloat16>;
using LogitTypes = ::testing::Types<float, double>;

// Its scratch is memory of its own each time, so that bands around it show what kernels do wrong.
class ScratchOfTests final : public ScratchMemory {
 public:
  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    switchyard::testing::check_cuda(cudaMalloc(&memory, bytes));
    return memory;
  }
  void release(void* memory) noexcept override { (void)cudaFree(memory); }
};

inline Stream test_stream() {
  static ScratchOfTests scratch;
  return {.handle = nullptr, .scratch = &scratch};
}

// Where a test fails on purpose to look like a result: outputs start as NaN.
template <typename T>
T not_a_number() {
  return store<T>(std::numeric_limits<double>::quiet_NaN());
}
template <>
inline BFloat16 not_a_number<BFloat16>() {
  return {0x7FC0};
}

template <typename T>
std::vector<T> random_values(std::int64_t count, unsigned seed, double scale = 1.0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0.0, scale);
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = store<T>(static_cast<accumulation_t<T>>(normal(random)));
  return values;
}

// Relative and absolute tolerance of a result in a storage type: some roundings of values near 1.
// Sums are added in another order than on the CPU, and exp is another approximation.
template <typename T>
constexpr double tolerance() {
  if constexpr (std::is_same_v<T, double>) return 1e-12;
  if constexpr (std::is_same_v<T, float>) return 1e-5;
  return 1.0 / 128;  // bf16 has 8 significant bits
}

// Compares with tolerance * (scale + |expected|); NaN equals NaN.
template <typename T>
void expect_close(const std::vector<T>& actual, const std::vector<T>& expected,
                  const std::string& what, double scale = 1.0) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double worst_share = 0;
  std::size_t worst = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto a = static_cast<double>(load(actual[i]));
    const auto e = static_cast<double>(load(expected[i]));
    if ((std::isnan(a) && std::isnan(e)) || a == e) continue;
    double share = std::abs(a - e) / (tolerance<T>() * (scale + std::abs(e)));
    if (std::isnan(share)) share = std::numeric_limits<double>::infinity();
    if (share > worst_share) {
      worst_share = share;
      worst = i;
    }
  }
  EXPECT_LE(worst_share, 1.0) << what << ", element " << worst << " of " << actual.size() << ": "
                              << static_cast<double>(load(actual[worst])) << ", expected "
                              << static_cast<double>(load(expected[worst]));
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// A routing made from nothing but a random generator: every token takes some experts.
struct RandomRouting {
  std::int64_t num_tokens = 0;
  std::int64_t num_experts = 0;
  std::vector<std::int32_t> row_token_N;
  std::vector<std::int32_t> token_offset_T1;
  std::vector<std::int32_t> token_row_N;

  [[nodiscard]] std::int64_t num_rows() const { return std::ssize(row_token_N); }
};

enum class Load { any, one_expert, all_experts, none };

inline RandomRouting random_routing(std::int64_t num_tokens, std::int64_t num_experts, Load kind,
                                    unsigned seed) {
  std::mt19937 random(seed);
  const auto takes = [&](std::int64_t expert) {
    switch (kind) {
      case Load::any:
        return random() % 3 == 0;
      case Load::one_expert:
        return expert == num_experts / 2;
      case Load::all_experts:
        return true;
      case Load::none:
        break;
    }
    return false;
  };
  RandomRouting routing;
  routing.num_tokens = num_tokens;
  routing.num_experts = num_experts;
  std::vector<std::vector<std::int32_t>> rows_of_token(static_cast<std::size_t>(num_tokens));
  for (std::int64_t e = 0; e < num_experts; ++e) {
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      if (!takes(e)) continue;
      rows_of_token[static_cast<std::size_t>(t)].push_back(
          static_cast<std::int32_t>(routing.row_token_N.size()));
      routing.row_token_N.push_back(static_cast<std::int32_t>(t));
    }
  }
  routing.token_offset_T1 = {0};
  for (const auto& rows : rows_of_token) {
    routing.token_row_N.insert(routing.token_row_N.end(), rows.begin(), rows.end());
    routing.token_offset_T1.push_back(static_cast<std::int32_t>(routing.token_row_N.size()));
  }
  return routing;
}

struct RowShape {
  std::int64_t num_tokens;
  std::int64_t num_experts;
  std::int64_t row_size;
  Load load;
};

// Sizes with and without whole packs, from less than a warp to several rounds of one.
inline std::vector<RowShape> row_shapes() {
  return {
      {0, 4, 64, Load::any},           {5, 4, 64, Load::none},       {13, 1, 8, Load::all_experts},
      {9, 17, 20, Load::any},          {21, 4, 100, Load::any},      {6, 64, 264, Load::any},
      {4, 256, 72, Load::any},         {19, 8, 7, Load::one_expert}, {3, 3, 1024, Load::any},
      {2, 4, 4096, Load::all_experts}, {2, 2, 2817, Load::any}};
}

inline std::string describe(const RowShape& shape) {
  return "T=" + std::to_string(shape.num_tokens) + " E=" + std::to_string(shape.num_experts) +
         " H=" + std::to_string(shape.row_size);
}

}  // namespace switchyard::kernels::testing
