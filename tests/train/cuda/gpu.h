// Tests of the whole on a GPU; without one they are skipped. SWITCHYARD_TEST_DEVICE=cpu runs them
// against the CPU itself, to try the tests.
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "switchyard/ops/backend.h"

namespace switchyard::train {

[[nodiscard]] inline std::string test_device() {
  const char* chosen = std::getenv("SWITCHYARD_TEST_DEVICE");
  return chosen == nullptr ? "cuda" : chosen;
}

template <typename Base = ::testing::Test>
class OnGpu : public Base {
 protected:
  void SetUp() override {
    ops::install_parallel_backend();
    // cuBLAS reads it at its first product, which is before some tests ask for the same bits.
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    if (test_device() == "cuda" && !at::hasCUDA()) GTEST_SKIP() << "no GPU";
  }
  void TearDown() override { at::globalContext().setDeterministicAlgorithms(false, false); }
};

// |actual - expected| <= limit * |expected| in the norm of the whole tensor, wherever they are.
inline void expect_near_in_norm(const at::Tensor& actual, const at::Tensor& expected, double limit,
                                const std::string& what) {
  const at::Tensor reference = expected.detach().to(at::kCPU, at::kDouble);
  const at::Tensor value = actual.detach().to(at::kCPU, at::kDouble);
  ASSERT_EQ(value.sizes(), reference.sizes()) << what;
  const double distance = value.sub(reference).norm().item<double>();
  EXPECT_LE(distance, limit * reference.norm().item<double>() + 1e-12) << what;
}

}  // namespace switchyard::train
