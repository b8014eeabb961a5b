// The MoE layer by its definition in torch's own differentiable operators, and random inputs for
// it.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_add.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "support/near_in_norm.h"
#include "support/tensors.h"
#include "switchyard/ops/precision.h"
#include "switchyard/ops/routing.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::moe::testing {

using switchyard::testing::expect_near_in_norm;
using switchyard::testing::random_normal;
using switchyard::testing::with_grad;

inline at::Tensor moe_by_definition(const at::Tensor& x_TH, const ops::Routing& routing,
                                    const at::Tensor& row_weight_N, const at::Tensor& w1_E2FH,
                                    const at::Tensor& w2_EHF) {
  const std::int64_t size = w2_EHF.size(2);
  at::Tensor y_TH = x_TH * 0.0;
  for (std::int64_t e = 0; e < routing.num_experts; ++e) {
    const std::int64_t begin = routing.expert_offset_E1[e].item<std::int32_t>();
    const std::int64_t count = routing.expert_offset_E1[e + 1].item<std::int32_t>() - begin;
    const at::Tensor tokens = routing.row_token_N.narrow(0, begin, count);
    const at::Tensor gate_up = at::matmul(at::index_select(x_TH, 0, tokens), w1_E2FH[e].t());
    const at::Tensor activation =
        at::silu(gate_up.narrow(1, 0, size)) * gate_up.narrow(1, size, size);
    const at::Tensor y = at::matmul(activation, w2_EHF[e].t());
    const at::Tensor weight = row_weight_N.narrow(0, begin, count).unsqueeze(1);
    y_TH = at::index_add(y_TH, 0, tokens, weight * y);
  }
  return y_TH;
}

struct Shape {
  std::int64_t num_tokens = 12;
  std::int64_t hidden = 8;
  std::int64_t size = 16;
  std::int64_t num_experts = 4;
};

struct MoeInputs {
  ops::Routing routing;  // row weights are a leaf of their own
  at::Tensor x_TH, w1_E2FH, w2_EHF;
};

// Token t gets k_T[t] experts. Leaves require grad; the routing's weights are random, not a
// softmax.
inline MoeInputs random_inputs(const Shape& shape, const std::vector<std::int32_t>& k_T,
                               at::ScalarType dtype) {
  const at::ScalarType accumulation = ops::accumulation_type(dtype);
  const auto num_tokens = static_cast<std::int32_t>(shape.num_tokens);
  MoeInputs inputs;
  inputs.routing =
      ops::top_k_route(random_normal({shape.num_tokens, shape.num_experts}, 1), {},
                       at::tensor({0, num_tokens}, at::kInt), {.k_T = at::tensor(k_T, at::kInt)})
          .routing;
  inputs.routing.row_weight_N =
      with_grad(random_normal({inputs.routing.num_rows()}, 2, accumulation).abs());
  inputs.x_TH = with_grad(random_normal({shape.num_tokens, shape.hidden}, 3, dtype));
  inputs.w1_E2FH = with_grad(
      (random_normal({shape.num_experts, 2 * shape.size, shape.hidden}, 4) * 0.3).to(dtype));
  inputs.w2_EHF =
      with_grad((random_normal({shape.num_experts, shape.hidden, shape.size}, 5) * 0.3).to(dtype));
  return inputs;
}

// Between 0 and num_experts experts, different from token to token.
inline std::vector<std::int32_t> variable_k(const Shape& shape) {
  std::vector<std::int32_t> k_T;
  for (std::int64_t t = 0; t < shape.num_tokens; ++t) {
    k_T.push_back(static_cast<std::int32_t>((t * t + t / 3) % (shape.num_experts + 1)));
  }
  return k_T;
}

// The largest relative error, in norm, that rounding to the dtype in a chain of three products is
// allowed; bf16 rounds x, [G U], A and the gradients, 2^-9 each.
inline double tolerance(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return 1e-2;
  return dtype == at::kFloat ? 2e-6 : 1e-13;
}

}  // namespace switchyard::moe::testing
