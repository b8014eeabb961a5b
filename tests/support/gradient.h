// Checks a hand-written gradient against central differences in double.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace switchyard::testing {

// `loss` maps fp64 inputs to a scalar. Every element of every input that requires grad is moved by
// +-step; inputs must be away from kinks and ties. An input without gradient counts as zero.
inline void expect_gradients_match(
    const std::function<at::Tensor(const std::vector<at::Tensor>&)>& loss,
    const std::vector<at::Tensor>& inputs, double step = 1e-5, double rtol = 1e-6,
    double atol = 1e-8) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) {
    at::Tensor leaf = input.detach().clone();
    leaf.set_requires_grad(input.requires_grad());
    leaves.push_back(leaf);
  }
  const at::Tensor value = loss(leaves);
  ASSERT_EQ(value.scalar_type(), at::kDouble);
  value.backward();
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].requires_grad()) continue;
    const at::Tensor grad =
        (leaves[i].grad().defined() ? leaves[i].grad() : at::zeros_like(leaves[i])).contiguous();
    std::vector<at::Tensor> moved;
    for (const at::Tensor& leaf : leaves) moved.push_back(leaf.detach().clone());
    auto* elements = moved[i].mutable_data_ptr<double>();
    double worst = 0;
    std::int64_t worst_element = 0;
    double worst_numeric = 0;
    for (std::int64_t j = 0; j < moved[i].numel(); ++j) {
      const double original = elements[j];
      elements[j] = original + step;
      const double above = loss(moved).item<double>();
      elements[j] = original - step;
      const double below = loss(moved).item<double>();
      elements[j] = original;
      const double numeric = (above - below) / (2 * step);
      const double share = std::abs(grad.const_data_ptr<double>()[j] - numeric) /
                           (atol + rtol * std::max(1.0, std::abs(numeric)));
      if (!(share <= worst)) {
        worst = share;
        worst_element = j;
        worst_numeric = numeric;
      }
    }
    EXPECT_LE(worst, 1.0) << "input " << i << ", element " << worst_element << ": gradient "
                          << grad.const_data_ptr<double>()[worst_element] << ", by differences "
                          << worst_numeric << " (" << worst << " of the tolerance)";
  }
}

}  // namespace switchyard::testing
