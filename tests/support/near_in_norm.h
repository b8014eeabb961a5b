// The comparison of tensors whose single elements may cancel to anything.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace switchyard::testing {

// |actual - expected| <= limit * |expected| in the norm of the whole tensor, on whatever devices
// they are.
inline void expect_near_in_norm(const at::Tensor& actual, const at::Tensor& expected, double limit,
                                const char* what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  const at::Tensor reference = expected.detach().to(at::kCPU, at::kDouble);
  const at::Tensor value = actual.detach().to(at::kCPU, at::kDouble);
  const double distance = (value - reference).norm().item<double>();
  const double norm = reference.norm().item<double>();
  EXPECT_LE(distance, limit * norm) << what << " differs by " << distance / norm << " of its norm";
}

}  // namespace switchyard::testing
