// Small generated inputs for router tests, and readers of what routers return.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/core/philox.h"
#include "switchyard/ops/precision.h"
#include "switchyard/routing/router.h"

namespace switchyard::routing::testing {

inline constexpr std::int64_t kExperts = 6;
inline constexpr std::int64_t kHidden = 5;

// Uniform in [low, high), a function of the seed and the element's index alone.
inline at::Tensor uniform(const std::vector<std::int64_t>& shape, std::uint64_t seed,
                          double low = -1.0, double high = 1.0) {
  at::Tensor result = at::empty(shape, at::kDouble);
  double* out = result.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    const auto word = philox(philox_key(seed), {static_cast<std::uint32_t>(i), 0, 0, 0})[0];
    out[i] = low + (high - low) * static_cast<double>(uniform_float(word));
  }
  return result;
}

inline std::unique_ptr<Router> build_router(const config::RouterConfig& config, bool causal = true,
                                            at::ScalarType compute = at::kFloat,
                                            std::int64_t num_experts = kExperts,
                                            std::int64_t hidden_size = kHidden) {
  RouterBuild build;
  build.name = "model.layers.3.moe.router.weight";
  build.layer = 3;
  build.num_experts = num_experts;
  build.hidden_size = hidden_size;
  build.causal = causal;
  build.sequence_length = 8;
  build.precision.compute = compute;
  std::unique_ptr<Router> router = make_router(config, build);
  for (ops::Parameter* parameter : router->parameters()) ops::initialize(*parameter, 1);
  router->weight().value.detach().copy_(uniform({num_experts, hidden_size}, 17, -1.5, 1.5));
  return router;
}

// A router whose logits are the rows of x: one channel per expert, weight = identity.
inline std::unique_ptr<Router> build_identity_router(const config::RouterConfig& config,
                                                     std::int64_t num_experts, bool causal = true,
                                                     at::ScalarType compute = at::kFloat) {
  std::unique_ptr<Router> router = build_router(config, causal, compute, num_experts, num_experts);
  const at::Tensor weight_EH = router->weight().value.detach();
  weight_EH.zero_();
  weight_EH.diagonal().fill_(1.0);
  return router;
}

inline at::Tensor offsets(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int32_t> offset = {0};
  for (const std::int64_t length : lengths) {
    offset.push_back(offset.back() + static_cast<std::int32_t>(length));
  }
  return at::tensor(offset, at::kInt);
}

inline at::Tensor mask(const std::vector<bool>& values) {
  at::Tensor result = at::zeros({static_cast<std::int64_t>(values.size())}, at::kBool);
  for (std::size_t i = 0; i < values.size(); ++i) {
    result.mutable_data_ptr<bool>()[i] = values[i];
  }
  return result;
}

// `invalid` lists padding tokens. The importance is what attention would give: positive, 0 at
// padding. Noise is there whether or not the router declares it.
inline RouterInput make_input(const std::vector<std::int64_t>& lengths,
                              const std::vector<std::int64_t>& invalid, std::uint64_t seed = 1,
                              at::ScalarType dtype = at::kFloat, std::int64_t hidden = kHidden) {
  RouterInput input;
  input.sequence_offset_B1 = offsets(lengths);
  std::int64_t num_tokens = 0;
  for (const std::int64_t length : lengths) {
    num_tokens += length;
  }
  std::vector<bool> valid(static_cast<std::size_t>(num_tokens), true);
  for (const std::int64_t token : invalid) {
    valid[static_cast<std::size_t>(token)] = false;
  }
  input.valid_T = mask(valid);
  input.x_TH = uniform({num_tokens, hidden}, seed).to(dtype);
  input.importance_T = at::where(input.valid_T, uniform({num_tokens}, seed + 1000, 0.1, 1.0), 0.0)
                           .to(ops::accumulation_type(dtype));
  input.training = true;
  input.noise = NoiseKey{.seed = 11, .layer = 3, .token_idx_T = at::arange(num_tokens, at::kLong)};
  return input;
}

// Three sequences and an empty one, padded at the end, in the middle and at the start.
inline RouterInput padded_input(std::uint64_t seed = 1, at::ScalarType dtype = at::kFloat) {
  return make_input({7, 1, 0, 5}, {5, 6, 8, 10}, seed, dtype);
}

// Bitwise, so that NaN equals itself.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) {
    return false;
  }
  const at::Tensor left = a.detach().contiguous();
  const at::Tensor right = b.detach().contiguous();
  return std::memcmp(left.const_data_ptr(), right.const_data_ptr(), left.nbytes()) == 0;
}

struct Choice {
  std::int64_t expert = 0;
  double weight = 0.0;
};

// What each token got, in the order of the routing's token view.
inline std::vector<std::vector<Choice>> choices(const ops::Routing& routing) {
  std::vector<std::vector<Choice>> result(static_cast<std::size_t>(routing.num_tokens));
  const at::Tensor weight_N = routing.row_weight_N.detach().to(at::kDouble).contiguous();
  for (std::int64_t token = 0; token < routing.num_tokens; ++token) {
    const std::int32_t* offset = routing.token_offset_T1.const_data_ptr<std::int32_t>() + token;
    for (std::int32_t i = offset[0]; i < offset[1]; ++i) {
      const std::int32_t row = routing.token_row_N.const_data_ptr<std::int32_t>()[i];
      std::int64_t expert = 0;
      while (routing.expert_offset_E1.const_data_ptr<std::int32_t>()[expert + 1] <= row) {
        ++expert;
      }
      result[static_cast<std::size_t>(token)].push_back(
          {expert, weight_N.const_data_ptr<double>()[row]});
    }
  }
  return result;
}

inline std::vector<std::int64_t> experts_per_token(const ops::Routing& routing) {
  std::vector<std::int64_t> result;
  for (const std::vector<Choice>& token : choices(routing)) {
    result.push_back(static_cast<std::int64_t>(token.size()));
  }
  return result;
}

inline std::vector<std::int64_t> chosen_experts(const ops::Routing& routing, std::int64_t token) {
  const std::vector<Choice> chosen = choices(routing)[static_cast<std::size_t>(token)];
  std::vector<std::int64_t> result;
  for (const Choice& choice : chosen) {
    result.push_back(choice.expert);
  }
  return result;
}

// One rank's sums as the sums of the whole step.
inline GlobalSums global_sums(const ops::RouteSums& sums, std::int64_t step) {
  GlobalSums global;
  global.step = step;
  global.num_tokens = sums.num_tokens_B.sum().item<std::int64_t>();
  const at::Tensor count_E = sums.count_BE.sum(0);
  for (std::int64_t expert = 0; expert < count_E.size(0); ++expert) {
    global.count_E.push_back(count_E[expert].item<std::int64_t>());
  }
  if (global.num_tokens > 0) {
    global.model_experts_per_token =
        static_cast<double>(std::accumulate(global.count_E.begin(), global.count_E.end(), 0LL)) /
        static_cast<double>(global.num_tokens);
  }
  for (const auto& [name, value] : sums.named) {
    const at::Tensor flat = value.reshape({-1});
    const double* numbers = flat.const_data_ptr<double>();
    global.named[name].assign(numbers, numbers + flat.numel());
  }
  return global;
}

// Steps 0 .. num_steps - 1 of training.
inline void train(Router& router, std::int64_t num_steps) {
  for (std::int64_t step = 0; step < num_steps; ++step) {
    RouterInput input = padded_input(100 + static_cast<std::uint64_t>(step));
    input.noise->step = step;
    router.after_step(global_sums(router.route(input).sums, step));
  }
}

}  // namespace switchyard::routing::testing
