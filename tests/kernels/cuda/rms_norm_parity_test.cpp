#include "switchyard/kernels/rms_norm.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class RmsNormOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(RmsNormOnGpu, StorageTypes);

struct Shape {
  std::int64_t num_rows;
  std::int64_t size;
};
// The fourth has several partial sums of the weight's gradient.
const std::vector<Shape> kShapes{{0, 16},   {1, 1},    {9, 100}, {300, 8},
                                 {3, 1024}, {2, 4096}, {3, 777}};

TYPED_TEST(RmsNormOnGpu, ForwardAndBackwardGiveWhatTheCpuGives) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  for (const auto [num_rows, size] : kShapes) {
    const std::string what = "N=" + std::to_string(num_rows) + " H=" + std::to_string(size);
    const auto x = random_values<T>(num_rows * size, 1, 2.0);
    const auto dy = random_values<T>(num_rows * size, 2);
    const auto weight = random_values<Sum>(size, 3);
    std::vector<T> y(x.size(), not_a_number<T>());
    std::vector<T> dx(x.size(), not_a_number<T>());
    std::vector<Sum> inverse(static_cast<std::size_t>(num_rows), not_a_number<Sum>());
    std::vector<Sum> dweight(weight.size(), not_a_number<Sum>());
    RmsNormParams<T> forward{.x = x.data(),
                             .weight_H = weight.data(),
                             .num_rows = num_rows,
                             .row_size = size,
                             .eps = 1e-6,
                             .y = y.data(),
                             .inverse_N = inverse.data()};
    RmsNormBackwardParams<T> backward{.x = x.data(),
                                      .weight_H = weight.data(),
                                      .inverse_N = inverse.data(),
                                      .dy = dy.data(),
                                      .num_rows = num_rows,
                                      .row_size = size,
                                      .dx = dx.data(),
                                      .dweight_H = dweight.data()};
    cpu::rms_norm(forward);
    cpu::rms_norm_backward(backward);

    const DeviceBuffer<T> device_x(x);
    const DeviceBuffer<T> device_dy(dy);
    const DeviceBuffer<Sum> device_weight(weight);
    const DeviceBuffer<T> device_y(std::ssize(y), not_a_number<T>());
    const DeviceBuffer<T> device_dx(std::ssize(dx), not_a_number<T>());
    const DeviceBuffer<Sum> device_inverse(num_rows, not_a_number<Sum>());
    const DeviceBuffer<Sum> device_dweight(size, not_a_number<Sum>());
    forward.x = backward.x = device_x.data();
    forward.weight_H = backward.weight_H = device_weight.data();
    forward.y = device_y.data();
    forward.inverse_N = device_inverse.data();
    backward.inverse_N = device_inverse.data();
    backward.dy = device_dy.data();
    backward.dx = device_dx.data();
    backward.dweight_H = device_dweight.data();
    cuda::rms_norm(forward, test_stream());
    cuda::rms_norm_backward(backward, test_stream());
    expect_close(device_y.host(), y, what + " y");
    expect_close(device_inverse.host(), inverse, what + " inverse");
    expect_close(device_dx.host(), dx, what + " dx");
    const std::vector<Sum> first = device_dweight.host();
    expect_close(first, dweight, what + " dweight", 10.0);
    cuda::rms_norm_backward(backward, test_stream());
    EXPECT_TRUE(same_bits(device_dweight.host(), first)) << what;
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
