#include "switchyard/kernels/grouped_add.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace switchyard::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(GroupedAdd, AddsGroupsWithRowsAndLeavesTheOthersAlone) {
  const std::vector<std::int32_t> row_offset{0, 2, 2, 3, 3};
  const std::vector<float> value{1, 2, kNaN, kNaN, 3, 4, kNaN, kNaN};
  std::vector<float> sum{10, 20, 30, 40, 50, 60, 70, 80};
  cpu::grouped_add({.num_groups = 4,
                    .row_offset_G1 = row_offset.data(),
                    .group_size = 2,
                    .value_GM = value.data(),
                    .sum_GM = sum.data()});
  EXPECT_EQ(sum, (std::vector<float>{11, 22, 30, 40, 53, 64, 70, 80}));
}

// 256 + 1 needs nine bits: a sum in bf16 would stay at 256.
TEST(GroupedAdd, SumsOfBf16AreFp32) {
  const std::vector<std::int32_t> row_offset{0, 1};
  const std::vector<BFloat16> value{store<BFloat16>(1.0F)};
  std::vector<float> sum{256};
  cpu::grouped_add({.num_groups = 1,
                    .row_offset_G1 = row_offset.data(),
                    .group_size = 1,
                    .value_GM = value.data(),
                    .sum_GM = sum.data()});
  EXPECT_EQ(sum[0], 257.0F);
}

}  // namespace
}  // namespace switchyard::kernels
