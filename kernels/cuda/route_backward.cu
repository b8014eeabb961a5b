// One warp per token. Its probabilities are computed twice rather than kept; what the rows' weights
// add to the gradient is gathered in shared memory by expert.
#include "switchyard/kernels/route_backward.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda/dynamic_shared.cuh"
#include "cuda/route_order.cuh"

namespace switchyard::kernels::cuda {
namespace {

// Adds what a token's row weights contribute to dP.
template <typename T>
__device__ void add_weight_gradient(const RouteBackwardParams<T>& params, std::int64_t token,
                                    const T* logits_E, T max, T sum, T* grad_prob_E) {
  const std::int32_t begin = params.token_offset_T1[token];
  const std::int32_t end = params.token_offset_T1[token + 1];
  const auto expert_of = [&](std::int32_t row) {
    return segment_of(params.expert_offset_E1, params.in.num_experts, row);
  };
  T prob_sum = 1;
  T mean_grad = 0;  // sum of g w
  if (params.renormalize) {
    T partial_sum = 0;
    T product = 0;
    for (std::int32_t i = begin + static_cast<std::int32_t>(threadIdx.x); i < end; i += kWarpSize) {
      const std::int32_t row = params.token_row_N[i];
      const T prob = std::exp(logits_E[expert_of(row)] - max) / sum;
      partial_sum += prob;
      product += params.grad_row_weight_N[row] * prob;
    }
    prob_sum = warp_sum(partial_sum);
    mean_grad = warp_sum(product) / prob_sum;
  }
  for (std::int32_t i = begin + static_cast<std::int32_t>(threadIdx.x); i < end; i += kWarpSize) {
    const std::int32_t row = params.token_row_N[i];
    grad_prob_E[expert_of(row)] += (params.grad_row_weight_N[row] - mean_grad) / prob_sum;
  }
}

// Dynamic shared memory: T[warps of the block][E].
template <typename T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    token_gradient(RouteBackwardParams<T> params) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (token >= params.in.num_tokens) return;
  const auto num_experts = static_cast<std::int32_t>(params.in.num_experts);
  const auto lane = static_cast<std::int32_t>(threadIdx.x);
  T* grad_E = params.grad_logits_TE + token * num_experts;
  if (params.in.valid_T != nullptr && !params.in.valid_T[token]) {
    for (std::int32_t e = lane; e < num_experts; e += kWarpSize) grad_E[e] = T{0};
    return;
  }
  const T* logits_E = params.in.logits_TE + token * num_experts;
  const T max = params.softmax_T2[2 * token];
  const T sum = params.softmax_T2[2 * token + 1];
  const T log_sum = std::log(sum);
  const T grad_entropy = params.grad_entropy_sum == nullptr ? T{0} : *params.grad_entropy_sum;
  const T grad_z = params.grad_z_sum == nullptr ? T{0} : *params.grad_z_sum;
  const std::int64_t sequence = segment_of(params.sequence_offset_B1, params.num_sequences, token);

  T* grad_prob_E = dynamic_shared<T>() + threadIdx.y * num_experts;
  for (std::int32_t e = lane; e < num_experts; e += kWarpSize) {
    grad_prob_E[e] = params.grad_prob_sum_BE == nullptr
                         ? T{0}
                         : params.grad_prob_sum_BE[sequence * num_experts + e];
  }
  __syncwarp();
  if (params.grad_row_weight_N != nullptr) {
    add_weight_gradient(params, token, logits_E, max, sum, grad_prob_E);
  }
  __syncwarp();
  T mean_grad = 0;
  T mean_log = 0;
  for (std::int32_t e = lane; e < num_experts; e += kWarpSize) {
    const T shifted = logits_E[e] - max;
    const T prob = std::exp(shifted) / sum;
    mean_grad += prob * grad_prob_E[e];
    mean_log += prob > T{0} ? prob * shifted : T{0};  // else 0 * -Inf
  }
  mean_grad = warp_sum(mean_grad);
  const T entropy = log_sum - warp_sum(mean_log);
  const T z_term = 2 * grad_z * (max + log_sum);
  for (std::int32_t e = lane; e < num_experts; e += kWarpSize) {
    const T shifted = logits_E[e] - max;
    const T prob = std::exp(shifted) / sum;
    const T log_prob = prob > T{0} ? shifted - log_sum : T{0};
    grad_E[e] = prob * (grad_prob_E[e] - mean_grad - grad_entropy * (log_prob + entropy) + z_term);
  }
}

template <typename T>
void run(const RouteBackwardParams<T>& params, Stream stream) {
  check_num_experts(params.in.num_experts);
  constexpr std::size_t kSharedBytes = 48 * 1024;
  const std::size_t row_bytes = static_cast<std::size_t>(params.in.num_experts) * sizeof(T);
  const auto warps =
      static_cast<unsigned>(std::clamp<std::size_t>(kSharedBytes / row_bytes, 1, kRowsPerBlock));
  launch(token_gradient<T>, num_blocks(params.in.num_tokens, warps), dim3(kWarpSize, warps),
         warps * row_bytes, stream, params);
}

}  // namespace

void route_backward(const RouteBackwardParams<float>& params, Stream stream) {
  run(params, stream);
}
void route_backward(const RouteBackwardParams<double>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
