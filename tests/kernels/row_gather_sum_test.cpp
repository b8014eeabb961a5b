#include "switchyard/kernels/row_gather_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace switchyard::kernels {
namespace {

template <typename T>
class RowGatherSum : public ::testing::Test {};
using Types = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(RowGatherSum, Types);

template <typename T>
double rounding() {
  if (sizeof(T) == 2) return 0x1.0p-8;
  return sizeof(T) == 4 ? 0x1.0p-23 : 0x1.0p-52;
}

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

TYPED_TEST(RowGatherSum, AddsTheWeightedRowsOfEachTokenAndRoundsOnce) {
  using Sum = accumulation_t<TypeParam>;
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  for (const std::int64_t row_size : {1, 13, 64, 300}) {
    for (const bool weighted : {false, true}) {
      // Tokens with 0, 1, 3, 2, 8 and 0 rows; rows are a shuffled permutation.
      const std::vector<std::int32_t> token_offset_T1{0, 0, 1, 4, 6, 14, 14};
      std::vector<std::int32_t> token_row_N(14);
      std::iota(token_row_N.begin(), token_row_N.end(), 0);
      std::shuffle(token_row_N.begin(), token_row_N.end(), random);
      std::vector<TypeParam> rows_NH;
      for (std::int64_t i = 0; i < 14 * row_size; ++i) {
        rows_NH.push_back(store<TypeParam>(static_cast<Sum>(normal(random))));
      }
      std::vector<Sum> row_weight_N;
      for (int r = 0; r < 14; ++r) row_weight_N.push_back(static_cast<Sum>(normal(random)));
      std::vector<TypeParam> y_TH(at(6 * row_size),
                                  store<TypeParam>(std::numeric_limits<Sum>::quiet_NaN()));
      cpu::row_gather_sum(
          RowGatherSumParams<TypeParam>{.rows_NH = rows_NH.data(),
                                        .row_weight_N = weighted ? row_weight_N.data() : nullptr,
                                        .token_offset_T1 = token_offset_T1.data(),
                                        .token_row_N = token_row_N.data(),
                                        .num_tokens = 6,
                                        .row_size = row_size,
                                        .y_TH = y_TH.data()});
      for (std::int64_t t = 0; t < 6; ++t) {
        for (std::int64_t h = 0; h < row_size; ++h) {
          double sum = 0;
          double magnitude = 0;
          for (auto i = token_offset_T1[at(t)]; i < token_offset_T1[at(t + 1)]; ++i) {
            const auto row = token_row_N[at(i)];
            const double term = (weighted ? static_cast<double>(row_weight_N[at(row)]) : 1.0) *
                                static_cast<double>(load(rows_NH[at(row * row_size + h)]));
            sum += term;
            magnitude += std::abs(term);
          }
          // One rounding of the result, and of each step in the accumulation type.
          const double limit = rounding<TypeParam>() * std::abs(sum) +
                               16 * rounding<accumulation_t<TypeParam>>() * magnitude;
          EXPECT_LE(std::abs(static_cast<double>(load(y_TH[at(t * row_size + h)])) - sum), limit)
              << "token " << t << ", column " << h;
        }
      }
    }
  }
}

TYPED_TEST(RowGatherSum, AcceptsNoTokens) {
  const std::vector<std::int32_t> token_offset_T1{0};
  cpu::row_gather_sum(
      RowGatherSumParams<TypeParam>{.token_offset_T1 = token_offset_T1.data(), .row_size = 8});
}

}  // namespace
}  // namespace switchyard::kernels
