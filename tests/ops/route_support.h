// Inputs and losses that the tests of both routes share.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

#include <cstdint>
#include <vector>

#include "switchyard/ops/top_p_route.h"

namespace switchyard::ops::testing {

inline at::Tensor int32_tensor(const std::vector<std::int32_t>& values) {
  return at::tensor(values, at::kInt);
}

// Distinct logits [T, E], about 1 in size, away from ties.
inline at::Tensor distinct_logits(std::int64_t num_tokens, std::int64_t num_experts) {
  return at::linspace(0.0, 37.7 * static_cast<double>(num_tokens), num_tokens * num_experts,
                      at::kDouble)
      .sin()
      .mul(1.5)
      .reshape({num_tokens, num_experts});
}

// Which of a route's differentiable outputs enter a loss.
struct UsedOutputs {
  bool row_weight = true;
  bool prob_sum = true;
  bool entropy = true;
  bool z = true;
};

// Each output times fixed coefficients that differ between elements.
inline at::Tensor scalar_loss(const RouteOutput& out, const UsedOutputs& used) {
  const auto coefficients = [](const at::Tensor& tensor) {
    // Not linear: a constant added to all experts' coefficients would change no gradient.
    return at::linspace(0.3, 9.7, tensor.numel(), tensor.scalar_type())
        .sin()
        .reshape(tensor.sizes());
  };
  at::Tensor loss = out.sums.entropy_sum * (used.entropy ? 0.7 : 0.0);
  if (!used.entropy) loss = loss.detach();
  if (used.row_weight) {
    const at::Tensor& weight = out.routing.row_weight_N;
    loss = loss + (weight * coefficients(weight)).sin().sum();
  }
  if (used.prob_sum) {
    loss = loss + (out.sums.prob_sum_BE * coefficients(out.sums.prob_sum_BE)).sum();
  }
  if (used.z) loss = loss + 0.2 * out.sums.z_sum;
  return loss;
}

inline const std::vector<UsedOutputs>& output_subsets() {
  static const std::vector<UsedOutputs> subsets{{},
                                                {true, false, false, false},
                                                {false, true, false, false},
                                                {false, false, true, false},
                                                {false, false, false, true}};
  return subsets;
}

}  // namespace switchyard::ops::testing
