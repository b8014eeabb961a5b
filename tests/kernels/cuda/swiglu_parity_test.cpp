#include "switchyard/kernels/swiglu.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class SwigluOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(SwigluOnGpu, StorageTypes);

struct Shape {
  std::int64_t num_rows;
  std::int64_t size;
};
const std::vector<Shape> kShapes{{0, 16}, {1, 1}, {9, 8}, {17, 20}, {5, 264}, {3, 1408}, {2, 777}};

std::string describe(const Shape& shape) {
  return "N=" + std::to_string(shape.num_rows) + " F=" + std::to_string(shape.size);
}

TYPED_TEST(SwigluOnGpu, ForwardGivesWhatTheCpuGives) {
  using T = TypeParam;
  for (const Shape& shape : kShapes) {
    const auto gate_up = random_values<T>(shape.num_rows * 2 * shape.size, 1, 3.0);
    const std::int64_t count = shape.num_rows * shape.size;
    std::vector<T> expected(static_cast<std::size_t>(count), not_a_number<T>());
    SwigluParams<T> params{.gate_up_N2F = gate_up.data(),
                           .num_rows = shape.num_rows,
                           .size = shape.size,
                           .activation_NF = expected.data()};
    cpu::swiglu(params);

    const DeviceBuffer<T> device_gate_up(gate_up);
    const DeviceBuffer<T> activation(count, not_a_number<T>());
    params.gate_up_N2F = device_gate_up.data();
    params.activation_NF = activation.data();
    cuda::swiglu(params, test_stream());
    expect_close(activation.host(), expected, describe(shape));
  }
}

template <typename T>
struct Backward {
  std::vector<T> dgate_up, activation;
  std::vector<accumulation_t<T>> dweight;
};

TYPED_TEST(SwigluOnGpu, BackwardGivesWhatTheCpuGives) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  for (const Shape& shape : kShapes) {
    for (const bool everything : {true, false}) {  // false: no weight, no optional output
      const std::int64_t padded_rows = shape.num_rows + 2;
      const auto gate_up = random_values<T>(shape.num_rows * 2 * shape.size, 1, 3.0);
      const auto d = random_values<T>(padded_rows * shape.size, 2);
      const auto weight = random_values<Sum>(shape.num_rows, 3);
      const auto count = static_cast<std::size_t>(padded_rows * shape.size);
      Backward<T> expected{std::vector<T>(2 * count, not_a_number<T>()),
                           std::vector<T>(count, not_a_number<T>()),
                           std::vector<Sum>(weight.size(), not_a_number<Sum>())};
      SwigluBackwardParams<T> params{
          .gate_up_N2F = gate_up.data(),
          .d_NF = d.data(),
          .row_weight_N = everything ? weight.data() : nullptr,
          .num_rows = shape.num_rows,
          .padded_rows = padded_rows,
          .size = shape.size,
          .dgate_up_N2F = expected.dgate_up.data(),
          .activation_NF = everything ? expected.activation.data() : nullptr,
          .dweight_N = everything ? expected.dweight.data() : nullptr};
      cpu::swiglu_backward(params);

      const DeviceBuffer<T> device_gate_up(gate_up);
      const DeviceBuffer<T> device_d(d);
      const DeviceBuffer<Sum> device_weight(weight);
      const DeviceBuffer<T> dgate_up(std::ssize(expected.dgate_up), not_a_number<T>());
      const DeviceBuffer<T> activation(std::ssize(expected.activation), not_a_number<T>());
      const DeviceBuffer<Sum> dweight(std::ssize(expected.dweight), not_a_number<Sum>());
      params.gate_up_N2F = device_gate_up.data();
      params.d_NF = device_d.data();
      params.dgate_up_N2F = dgate_up.data();
      if (everything) {
        params.row_weight_N = device_weight.data();
        params.activation_NF = activation.data();
        params.dweight_N = dweight.data();
      }
      std::vector<Sum> first_dweight;
      for (int repeat = 0; repeat < 2; ++repeat) {
        cuda::swiglu_backward(params, test_stream());
        expect_close(dgate_up.host(), expected.dgate_up, describe(shape) + " dgate_up", 3.0);
        expect_close(activation.host(), expected.activation, describe(shape) + " activation");
        expect_close(dweight.host(), expected.dweight, describe(shape) + " dweight",
                     10 * std::sqrt(static_cast<double>(shape.size)));
        if (repeat == 0) first_dweight = dweight.host();
        EXPECT_TRUE(same_bits(dweight.host(), first_dweight)) << describe(shape);
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
