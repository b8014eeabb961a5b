// Random tensors that depend on a seed alone, and the comparison of tensors with a tolerance.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "switchyard/kernels/initialize.h"

namespace switchyard::testing {

// Standard normal; every dtype holds the same numbers, rounded.
inline at::Tensor random_normal(const std::vector<std::int64_t>& shape, std::uint64_t seed,
                                at::ScalarType dtype = at::kDouble) {
  const at::Tensor values = at::empty(shape, at::kDouble);
  kernels::cpu::initialize_normal(
      kernels::InitializeNormalParams<double>{.out = values.mutable_data_ptr<double>(),
                                              .begin = 0,
                                              .count = values.numel(),
                                              .key = philox_key(seed),
                                              .tensor = 0,
                                              .std = 1.0});
  return values.to(dtype);
}

inline at::Tensor with_grad(at::Tensor tensor) {
  return tensor.set_requires_grad(true);
}

// |actual - expected| <= atol + rtol * |expected| for every element; NaN never passes.
inline void expect_close(const at::Tensor& actual, const at::Tensor& expected, double atol,
                         double rtol) {
  ASSERT_EQ(actual.sizes(), expected.sizes());
  if (expected.numel() == 0) return;
  const at::Tensor reference = expected.detach().to(at::kDouble).reshape({-1});
  const at::Tensor value = actual.detach().to(at::kDouble).reshape({-1});
  const at::Tensor share = (value - reference).abs() / (reference.abs() * rtol + atol);
  const auto worst = share.argmax().item<std::int64_t>();  // a NaN is the maximum
  EXPECT_LE(share[worst].item<double>(), 1.0)
      << "element " << worst << " is " << value[worst].item<double>() << ", expected "
      << reference[worst].item<double>() << " (" << share[worst].item<double>()
      << " of the tolerance)";
}

}  // namespace switchyard::testing
