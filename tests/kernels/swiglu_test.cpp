#include "switchyard/kernels/swiglu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace switchyard::kernels {
namespace {

template <typename T>
class Swiglu : public ::testing::Test {};
using Types = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(Swiglu, Types);

template <typename T>
double rounding() {
  if (sizeof(T) == 2) return 0x1.0p-8;
  return sizeof(T) == 4 ? 4 * 0x1.0p-23 : 4 * 0x1.0p-52;
}

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

// Normal values with a few large ones.
template <typename T>
std::vector<T> random_values(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0.0, 2.0);
  std::vector<T> values;
  for (std::int64_t i = 0; i < count; ++i) {
    const double scale = random() % 16 == 0 ? 20.0 : 1.0;
    values.push_back(store<T>(static_cast<accumulation_t<T>>(scale * normal(random))));
  }
  return values;
}

void expect_near(double actual, double expected, double limit, const std::string& what) {
  EXPECT_LE(std::abs(actual - expected), limit)
      << what << " is " << actual << ", expected " << expected;
}

TYPED_TEST(Swiglu, IsSiluOfTheGateTimesUp) {
  for (const std::int64_t size : {1, 5, 64, 333}) {
    const std::int64_t num_rows = 7;
    const auto gate_up = random_values<TypeParam>(num_rows * 2 * size, 1);
    std::vector<TypeParam> activation(at(num_rows * size));
    cpu::swiglu(SwigluParams<TypeParam>{.gate_up_N2F = gate_up.data(),
                                        .num_rows = num_rows,
                                        .size = size,
                                        .activation_NF = activation.data()});
    for (std::int64_t r = 0; r < num_rows; ++r) {
      for (std::int64_t f = 0; f < size; ++f) {
        const auto gate = static_cast<double>(load(gate_up[at(r * 2 * size + f)]));
        const auto up = static_cast<double>(load(gate_up[at(r * 2 * size + size + f)]));
        const double expected = gate * sigmoid(gate) * up;
        expect_near(static_cast<double>(load(activation[at(r * size + f)])), expected,
                    rounding<TypeParam>() * std::abs(expected) + 1e-37, "activation");
      }
    }
  }
}

TYPED_TEST(Swiglu, BackwardEmitsAllThreeResultsAndZeroesThePadding) {
  using Sum = accumulation_t<TypeParam>;
  for (const std::int64_t size : {1, 5, 64, 333}) {
    for (const bool weighted : {false, true}) {
      const std::int64_t num_rows = 6;
      const std::int64_t padded_rows = 9;
      const auto gate_up = random_values<TypeParam>(num_rows * 2 * size, 2);
      const auto d = random_values<TypeParam>(padded_rows * size, 3);
      const std::vector<Sum> weight{Sum(0.5), Sum(-1.25), Sum(0), Sum(1), Sum(3), Sum(0.125)};
      const TypeParam nan = store<TypeParam>(std::numeric_limits<Sum>::quiet_NaN());
      std::vector<TypeParam> dgate_up(at(padded_rows * 2 * size), nan);
      std::vector<TypeParam> activation(at(padded_rows * size), nan);
      std::vector<Sum> dweight(at(num_rows), std::numeric_limits<Sum>::quiet_NaN());
      cpu::swiglu_backward(
          SwigluBackwardParams<TypeParam>{.gate_up_N2F = gate_up.data(),
                                          .d_NF = d.data(),
                                          .row_weight_N = weighted ? weight.data() : nullptr,
                                          .num_rows = num_rows,
                                          .padded_rows = padded_rows,
                                          .size = size,
                                          .dgate_up_N2F = dgate_up.data(),
                                          .activation_NF = activation.data(),
                                          .dweight_N = dweight.data()});
      const double limit = rounding<TypeParam>();
      for (std::int64_t r = 0; r < padded_rows; ++r) {
        double dot = 0;
        double magnitude = 0;
        for (std::int64_t f = 0; f < size; ++f) {
          const auto dgate = static_cast<double>(load(dgate_up[at(r * 2 * size + f)]));
          const auto dup = static_cast<double>(load(dgate_up[at(r * 2 * size + size + f)]));
          const auto act = static_cast<double>(load(activation[at(r * size + f)]));
          if (r >= num_rows) {
            EXPECT_EQ(dgate, 0.0);
            EXPECT_EQ(dup, 0.0);
            EXPECT_EQ(act, 0.0);
            continue;
          }
          const auto gate = static_cast<double>(load(gate_up[at(r * 2 * size + f)]));
          const auto up = static_cast<double>(load(gate_up[at(r * 2 * size + size + f)]));
          const auto upstream = static_cast<double>(load(d[at(r * size + f)]));
          const double w = weighted ? static_cast<double>(weight[at(r)]) : 1.0;
          const double s = sigmoid(gate);
          const double silu_gradient = s * (1 + gate * (1 - s));
          const double a = gate * s * up;
          // 1 - sigmoid is rounded like 1, and multiplied by the gate.
          expect_near(dgate, w * upstream * up * silu_gradient,
                      limit * std::abs(w * upstream * up) * s * (1 + std::abs(gate)) + 1e-37,
                      "dgate");
          expect_near(dup, w * upstream * gate * s,
                      limit * std::abs(w * upstream * gate * s) + 1e-37, "dup");
          expect_near(act, w * a, limit * std::abs(w * a) + 1e-37, "activation");
          dot += upstream * a;
          magnitude += std::abs(upstream * a);
        }
        if (r < num_rows) {
          expect_near(static_cast<double>(dweight[at(r)]), dot,
                      (sizeof(Sum) == 4 ? 1e-6 : 1e-14) * magnitude + 1e-37, "dweight");
        }
      }
    }
  }
}

TYPED_TEST(Swiglu, BackwardLeavesOutWhatIsNotWanted) {
  const auto gate_up = random_values<TypeParam>(8, 2);
  const auto d = random_values<TypeParam>(4, 3);
  std::vector<TypeParam> dgate_up(8);
  std::vector<TypeParam> reference(8);
  std::vector<TypeParam> activation(4);
  SwigluBackwardParams<TypeParam> params{.gate_up_N2F = gate_up.data(),
                                         .d_NF = d.data(),
                                         .num_rows = 2,
                                         .padded_rows = 2,
                                         .size = 2,
                                         .dgate_up_N2F = dgate_up.data()};
  cpu::swiglu_backward(params);
  params.dgate_up_N2F = reference.data();
  params.activation_NF = activation.data();
  cpu::swiglu_backward(params);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(load(dgate_up[i]), load(reference[i]));
}

}  // namespace
}  // namespace switchyard::kernels
