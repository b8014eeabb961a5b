#include "switchyard/kernels/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/attention_reference.h"

namespace switchyard::kernels {
namespace {

template <typename T>
double tolerance() {
  if constexpr (std::is_same_v<T, double>) return 1e-12;
  if constexpr (std::is_same_v<T, float>) return 1e-4;  // dw sums 200 rows
  return 0.05;
}

template <typename T>
class RmsNormKernel : public ::testing::Test {};
using StorageTypes = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(RmsNormKernel, StorageTypes);

// With r = 1 / sqrt(mean(x^2) + eps): y = x r w; dx_j = r w_j dy_j - x_j r^3 / H sum_i dy_i w_i
// x_i; dw_j = sum over rows of dy_j x_j r.
TYPED_TEST(RmsNormKernel, AgreesWithTheFormulaForwardAndBackward) {
  using T = TypeParam;
  using Wide = accumulation_t<T>;
  constexpr double kEps = 1e-3;
  struct Shape {
    std::int64_t rows, size;
  };
  for (const auto& [rows, size] :
       std::vector<Shape>{{0, 3}, {1, 1}, {3, 7}, {200, 33}, {64, 16}, {65, 48}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << size);
    const std::vector<double> x = random_rows(rows * size, 1);
    const std::vector<double> dy = random_rows(rows * size, 2);
    const std::vector<double> weight = random_rows(size, 3);
    const std::vector<T> x_in = rounded<T>(x);
    const std::vector<T> dy_in = rounded<T>(dy);
    const std::vector<Wide> weight_in = rounded<Wide>(weight);
    Guarded<T> y(rows * size);
    Guarded<Wide> inverse(rows);
    Guarded<T> dx(rows * size);
    Guarded<Wide> dweight(size);
    cpu::rms_norm(RmsNormParams<T>{.x = x_in.data(),
                                   .weight_H = weight_in.data(),
                                   .num_rows = rows,
                                   .row_size = size,
                                   .eps = kEps,
                                   .y = y.data(),
                                   .inverse_N = inverse.data()});
    cpu::rms_norm_backward(RmsNormBackwardParams<T>{.x = x_in.data(),
                                                    .weight_H = weight_in.data(),
                                                    .inverse_N = inverse.data(),
                                                    .dy = dy_in.data(),
                                                    .num_rows = rows,
                                                    .row_size = size,
                                                    .dx = dx.data(),
                                                    .dweight_H = dweight.data()});
    std::vector<double> expected_dweight(static_cast<std::size_t>(size), 0.0);
    for (std::int64_t row = 0; row < rows; ++row) {
      double square = 0.0;
      double dot = 0.0;
      for (std::int64_t i = 0; i < size; ++i) {
        const auto at = static_cast<std::size_t>(row * size + i);
        square += x[at] * x[at];
        dot += dy[at] * weight[static_cast<std::size_t>(i)] * x[at];
      }
      const auto count = static_cast<double>(size);
      const double r = 1.0 / std::sqrt(square / count + kEps);
      for (std::int64_t i = 0; i < size; ++i) {
        const auto at = static_cast<std::size_t>(row * size + i);
        const double w = weight[static_cast<std::size_t>(i)];
        ASSERT_NEAR(y[row * size + i], x[at] * r * w, tolerance<T>()) << row << ", " << i;
        ASSERT_NEAR(dx[row * size + i], r * w * dy[at] - x[at] * r * r * r / count * dot,
                    tolerance<T>() * (1.0 + r))
            << row << ", " << i;
        expected_dweight[static_cast<std::size_t>(i)] += dy[at] * x[at] * r;
      }
    }
    for (std::int64_t i = 0; i < size; ++i) {
      const double expected = expected_dweight[static_cast<std::size_t>(i)];
      ASSERT_NEAR(dweight[i], expected, tolerance<T>() * (1.0 + std::abs(expected))) << i;
    }
    EXPECT_TRUE(y.bands_are_intact() && inverse.bands_are_intact() && dx.bands_are_intact() &&
                dweight.bands_are_intact());
  }
}

TEST(RmsNormKernelByHand, ThreeAndFourBecomeTheirShareOfTheRootMeanSquare) {
  const std::vector<double> x{3.0, 4.0};
  const std::vector<double> weight{1.0, 2.0};
  std::vector<double> y(2);
  double inverse = 0.0;
  cpu::rms_norm(RmsNormParams<double>{.x = x.data(),
                                      .weight_H = weight.data(),
                                      .num_rows = 1,
                                      .row_size = 2,
                                      .eps = 0.0,
                                      .y = y.data(),
                                      .inverse_N = &inverse});
  EXPECT_DOUBLE_EQ(y[0], 3.0 / std::sqrt(12.5));
  EXPECT_DOUBLE_EQ(y[1], 8.0 / std::sqrt(12.5));
}

}  // namespace
}  // namespace switchyard::kernels
