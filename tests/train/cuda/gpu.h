// Tests of the whole on a GPU; without one they are skipped, but in a program without LibTorch's
// CUDA library, which would find none on any machine, they fail. SWITCHYARD_TEST_DEVICE=cpu runs
// them against the CPU itself, to try the tests.
#pragma once

#include <ATen/Context.h>
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
    if (test_device() != "cuda" || at::hasCUDA()) return;
    ASSERT_NO_THROW((void)at::Context::versionCUDART()) << "LibTorch's CUDA library is not linked";
    GTEST_SKIP() << "no GPU";
  }
  void TearDown() override { at::globalContext().setDeterministicAlgorithms(false, false); }
};

}  // namespace switchyard::train
