#include "switchyard/kernels/dropout.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class DropoutOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(DropoutOnGpu, StorageTypes);

TYPED_TEST(DropoutOnGpu, DropsTheSameElementsAsTheCpu) {
  using T = TypeParam;
  for (const RowShape& shape : row_shapes()) {
    for (const double rate : {0.0, 0.3}) {
      const auto x = random_values<T>(shape.num_tokens * shape.row_size, 6);
      std::vector<std::int64_t> token_idx;
      for (std::int64_t t = 0; t < shape.num_tokens; ++t) token_idx.push_back(7 * t + 3);
      std::vector<T> expected(x.size(), not_a_number<T>());
      DropoutParams<T> params{.x = x.data(),
                              .y = expected.data(),
                              .token_idx_T = token_idx.data(),
                              .num_tokens = shape.num_tokens,
                              .row_size = shape.row_size,
                              .rate = rate,
                              .key = philox_key(99),
                              .step = 4,
                              .place = 258};
      cpu::dropout(params);
      const DeviceBuffer<T> device_x(x);
      const DeviceBuffer<std::int64_t> device_token_idx(token_idx);
      const DeviceBuffer<T> y(std::ssize(x), not_a_number<T>());
      params.x = device_x.data();
      params.y = y.data();
      params.token_idx_T = device_token_idx.data();
      cuda::dropout(params, test_stream());
      EXPECT_TRUE(same_bits(y.host(), expected)) << describe(shape);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
