#include "switchyard/kernels/bfloat16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace switchyard::kernels {
namespace {

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(to_float(to_bfloat16(1.0F)), 1.0F);
  EXPECT_EQ(to_float(to_bfloat16(1.0F + 0x1.0p-8F)), 1.0F);               // tie, to even
  EXPECT_EQ(to_float(to_bfloat16(1.0F + 0x3.0p-8F)), 1.0F + 0x1.0p-6F);   // tie, to even
  EXPECT_EQ(to_float(to_bfloat16(1.0F + 0x1.02p-8F)), 1.0F + 0x1.0p-7F);  // above the tie
  EXPECT_EQ(to_float(to_bfloat16(-1.0F - 0x1.02p-8F)), -1.0F - 0x1.0p-7F);
}

TEST(BFloat16, KeepsWhatIsNotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_float(to_bfloat16(infinity)), infinity);
  EXPECT_EQ(to_float(to_bfloat16(-infinity)), -infinity);
  EXPECT_EQ(to_float(to_bfloat16(std::numeric_limits<float>::max())), infinity);
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  // Only low bits set: cutting them off would give infinity.
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0x7F800001U)))));
}

}  // namespace
}  // namespace switchyard::kernels
