// A decoder small enough for differences in double, and batches for it.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/philox.h"
#include "switchyard/model/batch.h"
#include "switchyard/model/decoder.h"

namespace switchyard::model {

constexpr std::int64_t kSequenceLength = 64;

// Every router a decoder can have.
struct RouterCase {
  std::string name;
  config::RouterConfig router;
};

inline std::vector<RouterCase> router_cases() {
  const config::RouterConfig top_p(config::TopPOptions{.p = 0.5});
  const config::RouterConfig top_k(config::TopKOptions{.k = 2}, true);
  const config::RouterConfig entropy(
      config::AttentionImportanceOptions{.importance = "attention_entropy"});
  const config::RouterConfig peak(
      config::AttentionImportanceOptions{.importance = "attention_peak"});
  const config::RouterConfig normalized(config::TopPOptions{.p = 0.5, .normalize_logits = true});
  const config::RouterConfig biased(config::TopKOptions{.k = 2, .bias_rate = 1e-3}, true);
  const config::RouterConfig relu(config::ReluOptions{.target_k = 1.5, .l1_start = 0.1});
  const config::RouterConfig threshold(config::ExpertThresholdOptions{.target_k = 2.0});
  return {{"top_p", top_p},
          {"top_k", top_k},
          {"entropy", entropy},
          {"peak", peak},
          {"top_p_normalized", normalized},
          {"top_k_biased", biased},
          {"relu", relu},
          {"expert_threshold", threshold}};
}

// Two layers, the second of experts; 4 query heads in 2 groups.
inline config::ModelConfig small_config(
    const config::RouterConfig& router = config::RouterConfig(config::TopPOptions{.p = 0.5})) {
  config::ModelConfig config;
  config.vocab_size = 19;
  config.hidden_size = 12;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.ffn_size = 10;
  config.init_std = 0.3;  // far from linear
  config.moe.num_experts = 4;
  config.moe.expert_size = 6;
  config.moe.layers = {1};
  config.moe.compute = "loop";
  config.moe.router = router;
  return config;
}

inline std::unique_ptr<Decoder> make_decoder(const config::ModelConfig& config,
                                             at::ScalarType compute = at::kDouble,
                                             std::uint64_t seed = 3) {
  at::set_num_threads(1);  // tensors this small only wait for other threads
  auto decoder =
      std::make_unique<Decoder>(config, kSequenceLength, ops::PrecisionPolicy{.compute = compute});
  decoder->initialize(seed);
  return decoder;
}

inline std::vector<std::int64_t> random_tokens(std::int64_t count, std::uint64_t seed,
                                               std::int64_t vocab_size = 19) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    const PhiloxCounter words = philox(philox_key(seed), {static_cast<std::uint32_t>(i), 0, 0, 0});
    tokens.push_back(static_cast<std::int64_t>(words[0]) % vocab_size);
  }
  return tokens;
}

// Each sequence predicts its next token; the last token of a sequence has no label.
inline Batch make_batch(const std::vector<std::vector<std::int64_t>>& sequences,
                        const std::vector<std::int64_t>& first_position = {}) {
  std::vector<std::int64_t> token;
  std::vector<std::int64_t> position;
  std::vector<std::int64_t> label;
  Batch batch;
  batch.sequence_offset = {0};
  for (std::size_t b = 0; b < sequences.size(); ++b) {
    const std::vector<std::int64_t>& sequence = sequences[b];
    for (std::size_t i = 0; i < sequence.size(); ++i) {
      token.push_back(sequence[i]);
      position.push_back(static_cast<std::int64_t>(i) +
                         (first_position.empty() ? 0 : first_position[b]));
      label.push_back(i + 1 < sequence.size() ? sequence[i + 1] : -1);
    }
    batch.sequence_offset.push_back(static_cast<std::int64_t>(token.size()));
  }
  batch.token_T = at::tensor(token, at::kLong);
  batch.position_T = at::tensor(position, at::kLong);
  for (const std::int64_t p : position) batch.num_positions = std::max(batch.num_positions, p + 1);
  batch.label_T = at::tensor(label, at::kLong);
  batch.sequence_offset_B1 = at::tensor(batch.sequence_offset, at::kLong).to(at::kInt);
  batch.token_idx_T = at::arange(static_cast<std::int64_t>(token.size()), at::kLong);
  return batch;
}

// The experts of each token, ascending.
inline std::vector<std::vector<std::int32_t>> experts_of_tokens(const ops::Routing& routing) {
  const auto* expert_offset = routing.expert_offset_E1.const_data_ptr<std::int32_t>();
  const auto* row_token = routing.row_token_N.const_data_ptr<std::int32_t>();
  std::vector<std::vector<std::int32_t>> experts(static_cast<std::size_t>(routing.num_tokens));
  for (std::int32_t expert = 0; expert < routing.num_experts; ++expert) {
    for (std::int32_t row = expert_offset[expert]; row < expert_offset[expert + 1]; ++row) {
      experts[static_cast<std::size_t>(row_token[row])].push_back(expert);
    }
  }
  return experts;
}

// Zeroes the buffers, runs forward and backward of the summed loss plus the router's entropy, and
// collects: the gradients are then in Parameter::grad.
inline double loss_and_gradients(Decoder& decoder, const Batch& batch,
                                 const ForwardContext& context = {}) {
  for (ops::Parameter* parameter : decoder.parameters()) ops::zero_grad(*parameter);
  const TrunkOutput out = decoder.forward(batch, context);
  at::Tensor loss = decoder.head().loss_sum(out.hidden_TH, batch.label_T);
  for (const LayerRoute& route : out.routes) loss = loss + route.sums.entropy_sum * 0.1;
  loss.backward();
  for (ops::Parameter* parameter : decoder.parameters()) ops::collect_grad(*parameter);
  return loss.item<double>();
}

}  // namespace switchyard::model
