#include "switchyard/kernels/exp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace switchyard::kernels::cpu {
namespace {

TEST(Exponential, IsWithinTwoUnitsInTheLastPlaceWhereResultsAreNormal) {
  for (float x = -87.0F; x <= 88.7F; x += 0.00137F) {
    const double exact = std::exp(static_cast<double>(x));
    const auto rounded = static_cast<float>(exact);
    const double unit =
        static_cast<double>(std::nextafter(rounded, std::numeric_limits<float>::infinity())) -
        static_cast<double>(rounded);
    ASSERT_LE(std::abs(static_cast<double>(exponential(x)) - exact), 2 * unit) << "x = " << x;
  }
}

TEST(Exponential, ReachesZeroThroughSubnormalsAndInfinityAtTheTop) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr auto kSmallest = static_cast<double>(std::numeric_limits<float>::denorm_min());
  for (float x = -110.0F; x <= -87.0F; x += 0.0123F) {
    ASSERT_NEAR(exponential(x), std::exp(static_cast<double>(x)), 2 * kSmallest) << "x = " << x;
  }
  EXPECT_EQ(exponential(-kInf), 0.0F);
  EXPECT_EQ(exponential(std::numeric_limits<float>::lowest()), 0.0F);
  EXPECT_TRUE(std::isfinite(exponential(88.72F)));
  EXPECT_EQ(exponential(88.73F), kInf);
  EXPECT_EQ(exponential(kInf), kInf);
}

TEST(Exponential, IsExactAtZeroAndKeepsNaN) {
  EXPECT_EQ(exponential(0.0F), 1.0F);
  EXPECT_EQ(exponential(-0.0F), 1.0F);
  EXPECT_TRUE(std::isnan(exponential(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exponential(-std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace switchyard::kernels::cpu
