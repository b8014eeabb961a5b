// Tokens of ranks with any number of experts each, and what one rank makes of them.
#pragma once

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "moe/moe_reference.h"
#include "switchyard/moe/dispatcher.h"
#include "switchyard/ops/routing.h"

namespace switchyard::parallel::testing {

using moe::testing::random_normal;
using moe::testing::with_grad;

inline constexpr std::int64_t kExperts = 8;
inline constexpr std::int64_t kHidden = 6;
inline constexpr std::int64_t kSize = 4;

// How many experts each token of each rank gets, and by how much every token prefers expert 0.
struct Scene {
  std::string name;
  std::vector<std::vector<std::int32_t>> k_RT;
  double preference = 0.0;
};

inline std::vector<Scene> scenes() {
  return {
      {.name = "variable", .k_RT = {{1, 3, 0, 8, 2}, {2, 2, 1}, {4, 0, 1, 1, 1, 5, 2}, {3}}},
      {.name = "a_rank_without_tokens", .k_RT = {{2, 1, 3}, {}, {1, 1}, {}}},
      {.name = "a_rank_whose_tokens_get_no_expert", .k_RT = {{2, 1}, {0, 0, 0}, {1}, {8, 0}}},
      {.name = "all_rows_on_one_expert",
       .k_RT = {{1, 1, 1}, {1}, {1, 1}, {1, 1, 1, 1}},
       .preference = 100.0},
      {.name = "no_rows_at_all", .k_RT = {{0, 0}, {0}, {}, {0}}},
  };
}

struct Inputs {
  at::Tensor x_TH;
  ops::Routing routing;  // its weights are a leaf
  at::Tensor dy_TH;
};

inline Inputs inputs_of(const Scene& scene, std::int64_t rank, at::ScalarType dtype) {
  const std::vector<std::int32_t>& k_T = scene.k_RT[static_cast<std::size_t>(rank)];
  const auto num_tokens = static_cast<std::int64_t>(k_T.size());
  const auto seed = static_cast<std::uint64_t>(10 * rank);
  at::Tensor logits_TE = random_normal({num_tokens, kExperts}, seed + 1);
  logits_TE.select(1, 0).add_(scene.preference);
  Inputs inputs;
  inputs.routing =
      ops::top_k_route(logits_TE, {},
                       at::tensor({0, static_cast<std::int32_t>(num_tokens)}, at::kInt),
                       {.k_T = at::tensor(k_T, at::kInt)})
          .routing;
  inputs.routing.row_weight_N = with_grad(
      random_normal({inputs.routing.num_rows()}, seed + 2, ops::accumulation_type(dtype)).abs());
  inputs.x_TH = with_grad(random_normal({num_tokens, kHidden}, seed + 3, dtype));
  inputs.dy_TH = random_normal({num_tokens, kHidden}, seed + 4, dtype);
  return inputs;
}

// Of experts first .. first + count.
inline moe::ExpertWeights weights_of(std::int64_t first, std::int64_t count, at::ScalarType dtype) {
  const auto part = [&](const at::Tensor& all) {
    return with_grad(all.mul(0.3).narrow(0, first, count).contiguous().to(dtype));
  };
  return {.w1_E2FH = part(random_normal({kExperts, 2 * kSize, kHidden}, 5)),
          .w2_EHF = part(random_normal({kExperts, kHidden, kSize}, 6)),
          .sink = {}};
}

struct Results {
  at::Tensor y_TH, dx_TH, dweight_N;
  at::Tensor dw1, dw2;  // of the experts here
};

inline Results compute(moe::Dispatcher& dispatcher, const Inputs& inputs,
                       const moe::ExpertWeights& weights) {
  const at::Tensor y_TH = dispatcher.finish(dispatcher.begin(inputs.x_TH, inputs.routing), weights);
  y_TH.backward(inputs.dy_TH);
  const auto grad_of = [](const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  };
  return {.y_TH = y_TH.detach(),
          .dx_TH = grad_of(inputs.x_TH),
          .dweight_N = grad_of(inputs.routing.row_weight_N),
          .dw1 = grad_of(weights.w1_E2FH),
          .dw2 = grad_of(weights.w2_EHF)};
}

inline std::shared_ptr<moe::ExpertCompute> loop(at::ScalarType dtype) {
  return moe::make_expert_compute("loop", {.dtype = dtype});
}

}  // namespace switchyard::parallel::testing
