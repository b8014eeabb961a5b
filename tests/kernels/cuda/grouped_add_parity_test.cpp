#include "switchyard/kernels/grouped_add.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class GroupedAddOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(GroupedAddOnGpu, StorageTypes);

// What is added to groups without rows is NaN, as an unwritten gradient may be.
TYPED_TEST(GroupedAddOnGpu, IsThatOfTheCpu) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  const std::vector<std::int32_t> row_offset{0, 0, 3, 4, 4, 4, 9, 9};
  const std::int64_t num_groups = std::ssize(row_offset) - 1;
  for (const std::int64_t group_size : {1, 8, 2048, 2051, 5000}) {
    std::vector<T> value = random_values<T>(num_groups * group_size, 1);
    for (std::int64_t i = 0; i < num_groups * group_size; ++i) {
      const auto g = static_cast<std::size_t>(i / group_size);
      if (row_offset[g] == row_offset[g + 1]) {
        value[static_cast<std::size_t>(i)] = not_a_number<T>();
      }
    }
    std::vector<Sum> expected = random_values<Sum>(num_groups * group_size, 2);
    const DeviceBuffer<Sum> sum(expected);
    GroupedAddParams<T> params{.num_groups = num_groups,
                               .row_offset_G1 = row_offset.data(),
                               .group_size = group_size,
                               .value_GM = value.data(),
                               .sum_GM = expected.data()};
    cpu::grouped_add(params);
    const DeviceBuffer<std::int32_t> device_offset(row_offset);
    const DeviceBuffer<T> device_value(value);
    params.row_offset_G1 = device_offset.data();
    params.value_GM = device_value.data();
    params.sum_GM = sum.data();
    cuda::grouped_add(params, test_stream());
    EXPECT_TRUE(same_bits(sum.host(), expected)) << "groups of " << group_size;
  }
}

TYPED_TEST(GroupedAddOnGpu, TakesNoGroupsAndEmptyOnes) {
  EXPECT_NO_THROW(cuda::grouped_add(GroupedAddParams<TypeParam>{}, test_stream()));
  EXPECT_NO_THROW(cuda::grouped_add(GroupedAddParams<TypeParam>{.num_groups = 3}, test_stream()));
}

}  // namespace
}  // namespace switchyard::kernels::testing
