#include "switchyard/kernels/route_backward.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "cpu/route_order.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/exp.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

// Adds what a token's row weights contribute to dP.
template <typename T>
void add_weight_gradient(const RouteBackwardParams<T>& params, std::int64_t t, const T* prob_E,
                         T* grad_prob_E) {
  const std::int32_t begin = params.token_offset_T1[t];
  const std::int32_t end = params.token_offset_T1[t + 1];
  T prob_sum = 0;
  T product = 0;
  std::int64_t e = 0;
  // Experts and rows of a token ascend together: one walk finds each row's expert.
  const auto expert_of = [&](std::int32_t row) {
    while (params.expert_offset_E1[e + 1] <= row) ++e;
    return e;
  };
  if (params.renormalize) {
    for (std::int32_t i = begin; i < end; ++i) {
      const std::int32_t row = params.token_row_N[i];
      const T prob = prob_E[expert_of(row)];
      prob_sum += prob;
      product += params.grad_row_weight_N[row] * prob;
    }
    product /= prob_sum;  // sum of g w
    e = 0;
  } else {
    prob_sum = 1;
  }
  for (std::int32_t i = begin; i < end; ++i) {
    const std::int32_t row = params.token_row_N[i];
    grad_prob_E[expert_of(row)] += (params.grad_row_weight_N[row] - product) / prob_sum;
  }
}

template <typename T>
SWITCHYARD_SIMD_CLONES void backward_block(const RouteBackwardParams<T>& params,
                                           const TokenBlock& block) {
  const std::int64_t num_experts = params.in.num_experts;
  std::vector<T> prob_storage(static_cast<std::size_t>(num_experts));
  std::vector<T> grad_prob_storage(static_cast<std::size_t>(num_experts));
  T* prob_E = prob_storage.data();
  T* grad_prob_E = grad_prob_storage.data();
  const T grad_entropy = params.grad_entropy_sum == nullptr ? T{0} : *params.grad_entropy_sum;
  const T grad_z = params.grad_z_sum == nullptr ? T{0} : *params.grad_z_sum;
  for (std::int64_t t = block.begin; t < block.end; ++t) {
    T* grad_E = params.grad_logits_TE + t * num_experts;
    if (params.in.valid_T != nullptr && !params.in.valid_T[t]) {
      std::fill_n(grad_E, num_experts, T{0});
      continue;
    }
    const T* logits_E = params.in.logits_TE + t * num_experts;
    const T max = params.softmax_T2[2 * t];
    const T sum = params.softmax_T2[2 * t + 1];
    const T log_sum = std::log(sum);
    T entropy = log_sum;
#pragma omp simd reduction(+ : entropy)
    for (std::int64_t e = 0; e < num_experts; ++e) {
      const T shifted = logits_E[e] - max;
      prob_E[e] = exponential(shifted) / sum;
      entropy -= prob_E[e] > T{0} ? prob_E[e] * shifted : T{0};  // else 0 * -Inf
    }
    if (params.grad_prob_sum_BE != nullptr) {
      std::copy_n(params.grad_prob_sum_BE + block.sequence * num_experts, num_experts, grad_prob_E);
    } else {
      std::fill_n(grad_prob_E, num_experts, T{0});
    }
    if (params.grad_row_weight_N != nullptr) add_weight_gradient(params, t, prob_E, grad_prob_E);
    T mean_grad = 0;
#pragma omp simd reduction(+ : mean_grad)
    for (std::int64_t e = 0; e < num_experts; ++e) mean_grad += prob_E[e] * grad_prob_E[e];
    const T z_term = 2 * grad_z * (max + log_sum);
#pragma omp simd
    for (std::int64_t e = 0; e < num_experts; ++e) {
      const T log_prob = prob_E[e] > T{0} ? logits_E[e] - max - log_sum : T{0};
      grad_E[e] =
          prob_E[e] * (grad_prob_E[e] - mean_grad - grad_entropy * (log_prob + entropy) + z_term);
    }
  }
}

template <typename T>
void backward(const RouteBackwardParams<T>& params) {
  const std::vector<TokenBlock> blocks =
      token_blocks(params.sequence_offset_B1, params.num_sequences);
  parallel_for(static_cast<std::int64_t>(blocks.size()), 1,
               [&](std::int64_t i, std::int64_t /*end*/) {
                 backward_block(params, blocks[static_cast<std::size_t>(i)]);
               });
}

}  // namespace

void route_backward(const RouteBackwardParams<float>& params) {
  backward(params);
}
void route_backward(const RouteBackwardParams<double>& params) {
  backward(params);
}

}  // namespace switchyard::kernels::cpu
