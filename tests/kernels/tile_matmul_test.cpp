#include "cpu/tile_matmul.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace switchyard::kernels::cpu {
namespace {

template <typename T>
std::vector<T> random_values(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<T> normal;
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = normal(random);
  return values;
}

template <typename T>
struct Tile {
  std::int64_t rows;
  std::int64_t cols = 2 * kLanes<T>;
  std::int64_t inner = 7;
  std::vector<T> a = random_values<T>(rows * inner, 1);
  std::vector<T> b = random_values<T>(inner * cols, 2);
  std::vector<T> c = random_values<T>(rows * cols, 3);

  template <bool kAdd, int kBytes>
  [[nodiscard]] std::vector<T> product(bool is_transposed) const {
    std::vector<T> out = c;
    const TileView<T> left = is_transposed ? TileView<T>{a.data(), 1, rows}  // a is [inner, rows]
                                           : TileView<T>{a.data(), inner};
    matmul_tile<kAdd, kBytes>(left, b.data(), cols, out.data(), cols, {rows, cols, inner});
    return out;
  }

  [[nodiscard]] double expected(bool adds, bool is_transposed, std::int64_t i) const {
    const std::int64_t row = i / cols;
    const std::int64_t col = i % cols;
    double sum = adds ? static_cast<double>(c[static_cast<std::size_t>(i)]) : 0.0;
    for (std::int64_t k = 0; k < inner; ++k) {
      const std::int64_t at = is_transposed ? k * rows + row : row * inner + k;
      sum += static_cast<double>(a[static_cast<std::size_t>(at)]) *
             static_cast<double>(b[static_cast<std::size_t>(k * cols + col)]);
    }
    return sum;
  }
};

template <typename T>
class TileMatmul : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TileMatmul, Types);

// Of 64 bytes too, where the CPU has no such registers: it is slow there, not wrong.
TYPED_TEST(TileMatmul, IsTheSameProductInVectorsOfEverySize) {
  for (std::int64_t rows = 1; rows <= 13; ++rows) {
    const Tile<TypeParam> tile{.rows = rows};
    for (const bool is_transposed : {false, true}) {
      SCOPED_TRACE(rows);
      const auto set = tile.template product<false, 64>(is_transposed);
      const auto added = tile.template product<true, 64>(is_transposed);
      for (std::int64_t i = 0; i < rows * tile.cols; ++i) {
        const double tolerance = sizeof(TypeParam) == 4 ? 1e-5 : 1e-13;
        const auto at = static_cast<std::size_t>(i);
        EXPECT_NEAR(set[at], tile.expected(false, is_transposed, i), tolerance);
        EXPECT_NEAR(added[at], tile.expected(true, is_transposed, i), tolerance);
      }
      EXPECT_EQ((tile.template product<false, 32>(is_transposed)), set);
      EXPECT_EQ((tile.template product<false, 16>(is_transposed)), set);
      EXPECT_EQ((tile.template product<true, 32>(is_transposed)), added);
      EXPECT_EQ((tile.template product<true, 16>(is_transposed)), added);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::cpu
