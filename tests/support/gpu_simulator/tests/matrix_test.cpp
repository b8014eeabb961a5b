// The stand-in for tensor cores multiplies, and finds what CUDA leaves undefined.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/tests/kernels.h"
#include "support/gpu_simulator/tests/run.h"

namespace switchyard::gpu_simulator::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::size_t kSide = 16;

// 2 M M^T + 1, or 2 M M + 1.
std::vector<int> product_of(const std::vector<int>& m, bool transposed) {
  std::vector<int> product(kSide * kSide, 1);
  for (std::size_t row = 0; row < kSide; ++row) {
    for (std::size_t column = 0; column < kSide; ++column) {
      for (std::size_t k = 0; k < kSide; ++k) {
        product[row * kSide + column] +=
            2 * m[row * kSide + k] * (transposed ? m[column * kSide + k] : m[k * kSide + column]);
      }
    }
  }
  return product;
}

class SimulatedMatrices : public ::testing::Test {
 protected:
  const std::vector<int> m_ = random_values(kCount, 9);
  const std::vector<int> product_ = product_of(m_, true);

  // Does the kernel, under several seeds, give the product?
  [[nodiscard]] std::vector<bool> gives_product(Kernel kernel) const {
    std::vector<bool> results;
    const std::uint64_t before = seed();
    for (const std::uint64_t value : {1, 2, 3, 4}) {
      set_seed(value);
      results.push_back(run(kernel, m_, kCount) == product_);
    }
    set_seed(before);
    return results;
  }
};

TEST_F(SimulatedMatrices, AreMultipliedInBothLayouts) {
  EXPECT_EQ(run(&multiply_by_transposed, m_, kCount), product_);
  EXPECT_EQ(run(&multiply_by_itself, m_, kCount), product_of(m_, false));
  EXPECT_THAT(gives_product(&multiply_by_transposed), ::testing::Each(true));
}

TEST_F(SimulatedMatrices, LieInLanesAsNoCodeMayAssume) {
  EXPECT_THAT(gives_product(&assume_places_of_elements), ::testing::Each(false));
}

TEST_F(SimulatedMatrices, ThatNobodyFilledAreNoNumbers) {
  EXPECT_THAT(gives_product(&add_to_nothing), ::testing::Each(false));
}

TEST_F(SimulatedMatrices, AskForAlignmentAndAllLanes) {
  EXPECT_THAT([] { run_wrong(&matrix_off_alignment); },
              ThrowsMessage<KernelError>(AllOf(HasSubstr("load_matrix_sync at matrix_kernels.cu:"),
                                               HasSubstr("a multiple of 32"))));
  EXPECT_THAT([] { run_wrong(&matrix_rows_off_alignment); },
              ThrowsMessage<KernelError>(HasSubstr("with 40 bytes from row to row")));
  EXPECT_THAT(
      [] { run_wrong(&half_a_warp_multiplies); },
      ThrowsMessage<KernelError>(AllOf(HasSubstr("divergent warp"), HasSubstr("in mma_sync"),
                                       HasSubstr("in store_matrix_sync"))));
  EXPECT_THAT([] { run_wrong(&lanes_name_two_matrices); },
              ThrowsMessage<KernelError>(HasSubstr("lanes 0 and 17 name different matrices")));
}

}  // namespace
}  // namespace switchyard::gpu_simulator::testing
