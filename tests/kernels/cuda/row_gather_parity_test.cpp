#include "switchyard/kernels/row_gather.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

TEST(RowGatherOnGpu, CopiesTheSameBytesAsTheCpu) {
  for (const RowShape& shape : row_shapes()) {
    // Row sizes in bytes: with 16-, 4-, 2- and 1-byte units.
    for (const std::int64_t row_bytes : {4 * shape.row_size, 2 * shape.row_size, shape.row_size}) {
      for (const std::int64_t shift : {0, 1}) {  // off the alignment of the allocation
        const auto routing = random_routing(shape.num_tokens, shape.num_experts, shape.load, 3);
        std::vector<std::uint8_t> x(static_cast<std::size_t>(shape.num_tokens * row_bytes + shift));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint8_t>(i * 31 / 7);
        const std::int64_t padded_rows = routing.num_rows() + 3;
        std::vector<std::uint8_t> expected(static_cast<std::size_t>(padded_rows * row_bytes), 0xEE);
        RowGatherParams params{.x = reinterpret_cast<const std::byte*>(x.data()) + shift,
                               .row_token_N = routing.row_token_N.data(),
                               .num_rows = routing.num_rows(),
                               .padded_rows = padded_rows,
                               .row_bytes = row_bytes,
                               .out = reinterpret_cast<std::byte*>(expected.data())};
        cpu::row_gather(params);

        const DeviceBuffer<std::uint8_t> device_x(x);
        const DeviceBuffer<std::int32_t> row_token(routing.row_token_N);
        const DeviceBuffer<std::uint8_t> out(std::ssize(expected), 0xEE);
        params.x = reinterpret_cast<const std::byte*>(device_x.data()) + shift;
        params.row_token_N = row_token.data();
        params.out = reinterpret_cast<std::byte*>(out.data());
        cuda::row_gather(params, test_stream());
        EXPECT_EQ(out.host(), expected) << describe(shape) << " bytes=" << row_bytes;
      }
    }
  }
}

TEST(RowGatherOnGpu, DoesNothingWithRowsOfNoBytes) {
  EXPECT_NO_THROW(cuda::row_gather({.num_rows = 3, .padded_rows = 3}, test_stream()));
}

}  // namespace
}  // namespace switchyard::kernels::testing
