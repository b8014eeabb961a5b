#include "switchyard/kernels/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/attention_reference.h"

namespace switchyard::kernels {
namespace {

template <typename T>
double tolerance() {
  if constexpr (std::is_same_v<T, double>) return 1e-12;
  if constexpr (std::is_same_v<T, float>) return 1e-5;
  return 0.03;
}

template <typename T>
class LinearCrossEntropyKernel : public ::testing::Test {};
using StorageTypes = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(LinearCrossEntropyKernel, StorageTypes);

TYPED_TEST(LinearCrossEntropyKernel, GivesLossAndGradientOfEachRow) {
  using T = TypeParam;
  for (const std::int64_t vocab : {1, 3, 17, 300}) {
    SCOPED_TRACE(vocab);
    constexpr std::int64_t kRows = 19;
    std::vector<double> logits = random_rows(kRows * vocab, 1);
    for (double& logit : logits) logit = 3.0 * logit + 100.0;  // the maximum must be taken out
    std::vector<std::int64_t> label;
    for (std::int64_t row = 0; row < kRows; ++row) {
      label.push_back(row % 5 == 2 ? -1 : (row * 7) % vocab);
    }
    // The reference sees what the storage type holds.
    Guarded<T> in_place(kRows * vocab);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      in_place.data()[i] = store<T>(logits[i]);
      logits[i] = static_cast<double>(load(in_place.data()[i]));
    }
    Guarded<accumulation_t<T>> loss(kRows);
    LinearCrossEntropyParams<T> params{.logits_NV = in_place.data(),
                                       .label_N = label.data(),
                                       .num_rows = kRows,
                                       .vocab_size = vocab,
                                       .row_stride = vocab,
                                       .loss_N = loss.data()};
    cpu::linear_cross_entropy(params);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      ASSERT_EQ(in_place[static_cast<std::int64_t>(i)], logits[i]) << "no gradient was asked for";
    }
    params.write_gradient = true;
    cpu::linear_cross_entropy(params);
    for (std::int64_t row = 0; row < kRows; ++row) {
      const std::int64_t wanted = label[static_cast<std::size_t>(row)];
      double sum = 0.0;
      for (std::int64_t i = 0; i < vocab; ++i) {
        sum += std::exp(logits[static_cast<std::size_t>(row * vocab + i)] - 100.0);
      }
      const double log_sum = std::log(sum) + 100.0;
      const double expected_loss =
          wanted < 0 ? 0.0 : log_sum - logits[static_cast<std::size_t>(row * vocab + wanted)];
      EXPECT_NEAR(loss[row], expected_loss, 10.0 * tolerance<float>()) << row;
      for (std::int64_t i = 0; i < vocab; ++i) {
        const double probability =
            std::exp(logits[static_cast<std::size_t>(row * vocab + i)] - log_sum);
        const double expected = wanted < 0 ? 0.0 : probability - (i == wanted ? 1.0 : 0.0);
        ASSERT_NEAR(in_place[row * vocab + i], expected, tolerance<T>()) << row << ", " << i;
      }
    }
    EXPECT_TRUE(in_place.bands_are_intact() && loss.bands_are_intact());
  }
}

// Two equal logits: ln 2, and gradients of one half; between the rows lies something else.
TEST(LinearCrossEntropyKernelByHand, TwoEqualLogits) {
  std::vector<double> logits{5.0, 5.0, 7.0, -1.0, -1.0, 7.0};
  const std::vector<std::int64_t> label{1, 0};
  std::vector<double> loss(2);
  cpu::linear_cross_entropy(LinearCrossEntropyParams<double>{.logits_NV = logits.data(),
                                                             .label_N = label.data(),
                                                             .num_rows = 2,
                                                             .vocab_size = 2,
                                                             .row_stride = 3,
                                                             .loss_N = loss.data(),
                                                             .write_gradient = true});
  for (const double each : loss) EXPECT_DOUBLE_EQ(each, std::log(2.0));
  const std::vector<double> expected{0.5, -0.5, 7.0, -0.5, 0.5, 7.0};
  for (std::size_t i = 0; i < logits.size(); ++i) EXPECT_DOUBLE_EQ(logits[i], expected[i]) << i;
}

}  // namespace
}  // namespace switchyard::kernels
