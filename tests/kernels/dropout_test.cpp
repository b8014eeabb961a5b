#include "switchyard/kernels/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/attention_reference.h"

namespace switchyard::kernels {
namespace {

template <typename T>
class DropoutKernel : public ::testing::Test {};
using StorageTypes = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(DropoutKernel, StorageTypes);

TYPED_TEST(DropoutKernel, KeepsWhatTheWordsOfPhiloxSay) {
  using T = TypeParam;
  constexpr double kRate = 0.3;
  const PhiloxKey key = philox_key(0x123456789ABCDEFULL);
  // Row sizes around the 64 elements that are decided together.
  for (const std::int64_t size : {1, 5, 63, 64, 65, 130}) {
    SCOPED_TRACE(size);
    const std::vector<std::int64_t> token_idx{7, 0, 1000000};
    const std::vector<T> x(static_cast<std::size_t>(3 * size), store<T>(2.0));
    Guarded<T> y(3 * size);
    cpu::dropout(DropoutParams<T>{.x = x.data(),
                                  .y = y.data(),
                                  .token_idx_T = token_idx.data(),
                                  .num_tokens = 3,
                                  .row_size = size,
                                  .rate = kRate,
                                  .key = key,
                                  .step = 12,
                                  .place = 0x305});
    const double kept = static_cast<double>(
        load(store<T>(accumulation_t<T>{2} * static_cast<accumulation_t<T>>(1.0 / (1.0 - kRate)))));
    for (std::int64_t token = 0; token < 3; ++token) {
      for (std::int64_t i = 0; i < size; ++i) {
        const auto idx = static_cast<std::uint32_t>(token_idx[static_cast<std::size_t>(token)]);
        const PhiloxCounter words =
            philox(key, {12, 0x305, idx, static_cast<std::uint32_t>(i / 4)});
        const bool keep = words[static_cast<std::size_t>(i % 4)] >= kRate * 0x1.0p32;
        EXPECT_EQ(y[token * size + i], keep ? kept : 0.0) << token << ", " << i;
      }
    }
    EXPECT_TRUE(y.bands_are_intact());
  }
}

TEST(DropoutKernelRate, TheShareOfZerosIsTheRate) {
  constexpr std::int64_t kSize = 40000;
  const std::vector<float> x(kSize, 1.0F);
  std::vector<float> y(kSize);
  const std::int64_t token_idx = 3;
  cpu::dropout(DropoutParams<float>{.x = x.data(),
                                    .y = y.data(),
                                    .token_idx_T = &token_idx,
                                    .num_tokens = 1,
                                    .row_size = kSize,
                                    .rate = 0.1});
  double zeros = 0.0;
  for (const float value : y) zeros += value == 0.0F ? 1.0 : 0.0;
  EXPECT_NEAR(zeros / kSize, 0.1, 5.0 * std::sqrt(0.09 / kSize));
}

}  // namespace
}  // namespace switchyard::kernels
