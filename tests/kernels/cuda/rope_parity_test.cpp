#include "switchyard/kernels/rope.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class RopeOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(RopeOnGpu, StorageTypes);

TYPED_TEST(RopeOnGpu, RotatesAsTheCpuDoes) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  constexpr std::int64_t kPositions = 50;
  for (const std::int64_t num_tokens : {0, 1, 37}) {
    for (const std::int64_t head_dim : {2, 10, 32, 64}) {
      for (const bool inverse : {false, true}) {
        constexpr std::int64_t kHeads = 3;
        const std::int64_t stride = (kHeads + 2) * head_dim;  // as q among q, k and v
        const auto in = random_values<T>(num_tokens * stride, 8);
        const auto cos = random_values<Sum>(kPositions * head_dim / 2, 9);
        const auto sin = random_values<Sum>(kPositions * head_dim / 2, 10);
        std::vector<std::int64_t> position;
        for (std::int64_t t = 0; t < num_tokens; ++t) position.push_back(t * 13 % kPositions);
        const std::int64_t count = num_tokens * kHeads * head_dim;
        std::vector<T> expected(static_cast<std::size_t>(count), not_a_number<T>());
        RopeParams<T> params{.in = {in.data(), stride, head_dim},
                             .out = {expected.data(), kHeads * head_dim, head_dim},
                             .num_tokens = num_tokens,
                             .num_heads = kHeads,
                             .head_dim = head_dim,
                             .position_T = position.data(),
                             .cos = cos.data(),
                             .sin = sin.data(),
                             .inverse = inverse};
        cpu::rope(params);
        const DeviceBuffer<T> device_in(in);
        const DeviceBuffer<Sum> device_cos(cos);
        const DeviceBuffer<Sum> device_sin(sin);
        const DeviceBuffer<std::int64_t> device_position(position);
        const DeviceBuffer<T> out(count, not_a_number<T>());
        params.in.data = device_in.data();
        params.out.data = out.data();
        params.position_T = device_position.data();
        params.cos = device_cos.data();
        params.sin = device_sin.data();
        cuda::rope(params, test_stream());
        expect_close(out.host(), expected, "D=" + std::to_string(head_dim));
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
