#include "switchyard/kernels/initialize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace switchyard::kernels {
namespace {

std::vector<double> normals(std::int64_t begin, std::int64_t count, std::uint64_t tensor,
                            double std = 1.0) {
  std::vector<double> out(static_cast<std::size_t>(count));
  cpu::initialize_normal(InitializeNormalParams<double>{.out = out.data(),
                                                        .begin = begin,
                                                        .count = count,
                                                        .key = philox_key(7),
                                                        .tensor = tensor,
                                                        .std = std});
  return out;
}

TEST(InitializeNormal, HasTheMomentsAndTailsOfANormalDistribution) {
  const std::int64_t count = 200000;
  double sum = 0.0;
  double square = 0.0;
  double fourth = 0.0;
  double neighbours = 0.0;
  const std::vector<double> values = normals(0, count, 1, 0.5);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double z = values[i] / 0.5;
    sum += z;
    square += z * z;
    fourth += z * z * z * z;
    if (i > 0) neighbours += z * values[i - 1] / 0.5;
  }
  const auto n = static_cast<double>(count);
  // Five standard errors of each estimate.
  EXPECT_NEAR(sum / n, 0.0, 5.0 / std::sqrt(n));
  EXPECT_NEAR(square / n, 1.0, 5.0 * std::sqrt(2.0 / n));
  EXPECT_NEAR(fourth / n, 3.0, 5.0 * std::sqrt(96.0 / n));
  EXPECT_NEAR(neighbours / n, 0.0, 5.0 / std::sqrt(n));
}

TEST(InitializeNormal, CallsOnPiecesGiveTheSameValuesAsOneCall) {
  const std::vector<double> whole = normals(0, 40003, 9);
  const std::vector<double> piece = normals(20000, 20003, 9);
  for (std::size_t i = 0; i < piece.size(); ++i) ASSERT_EQ(piece[i], whole[20000 + i]) << i;
}

TEST(InitializeNormal, TensorsDifferAndFloatIsTheRoundedDouble) {
  const std::vector<double> one = normals(0, 64, 1);
  const std::vector<double> two = normals(0, 64, 2);
  std::vector<float> rounded(64);
  cpu::initialize_normal(InitializeNormalParams<float>{
      .out = rounded.data(), .count = 64, .key = philox_key(7), .tensor = 1, .std = 1.0});
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_NE(one[i], two[i]);
    EXPECT_EQ(rounded[i], static_cast<float>(one[i]));
  }
}

}  // namespace
}  // namespace switchyard::kernels
