#include "switchyard/kernels/row_gather_sum.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class RowGatherSumOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(RowGatherSumOnGpu, StorageTypes);

TYPED_TEST(RowGatherSumOnGpu, AddsTheRowsOfEachTokenAsTheCpuDoes) {
  using T = TypeParam;
  for (const RowShape& shape : row_shapes()) {
    for (const bool weighted : {false, true}) {
      const auto routing = random_routing(shape.num_tokens, shape.num_experts, shape.load, 4);
      const auto rows = random_values<T>(routing.num_rows() * shape.row_size, 1);
      const auto weight = random_values<accumulation_t<T>>(routing.num_rows(), 2);
      const std::int64_t count = shape.num_tokens * shape.row_size;
      std::vector<T> expected(static_cast<std::size_t>(count), not_a_number<T>());
      RowGatherSumParams<T> params{.rows_NH = rows.data(),
                                   .row_weight_N = weighted ? weight.data() : nullptr,
                                   .token_offset_T1 = routing.token_offset_T1.data(),
                                   .token_row_N = routing.token_row_N.data(),
                                   .num_tokens = shape.num_tokens,
                                   .row_size = shape.row_size,
                                   .y_TH = expected.data()};
      cpu::row_gather_sum(params);

      const DeviceBuffer<T> device_rows(rows);
      const DeviceBuffer<accumulation_t<T>> device_weight(weight);
      const DeviceBuffer<std::int32_t> token_offset(routing.token_offset_T1);
      const DeviceBuffer<std::int32_t> token_row(routing.token_row_N);
      const DeviceBuffer<T> y(count, not_a_number<T>());
      params.rows_NH = device_rows.data();
      if (weighted) params.row_weight_N = device_weight.data();
      params.token_offset_T1 = token_offset.data();
      params.token_row_N = token_row.data();
      params.y_TH = y.data();
      cuda::row_gather_sum(params, test_stream());
      expect_close(y.host(), expected, describe(shape),
                   std::sqrt(static_cast<double>(shape.num_experts)));
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
