// The decoder-only transformer: embedding, blocks of attention and (MoE or dense) SwiGLU, norm,
// output head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/batch.h"
#include "switchyard/moe/moe_layer.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::model {

class Block;
class KvCache;  // model/kv_cache.h

struct ForwardContext {
  std::int64_t step = 0;
  bool training = false;
  std::uint64_t seed = 0;    // dropout
  KvCache* cache = nullptr;  // generation: batch holds only the new tokens
  // Keep only the input of each block for the backward pass, which computes the block again: the
  // same bits for less memory and a third more computation. `routes` then have constant row
  // weights; their sums stay differentiable.
  bool recompute = false;
};

struct LayerRoute {
  std::int64_t layer = 0;
  ops::Routing routing;
  ops::RouteSums sums;
};

struct DecoderOutput {
  at::Tensor hidden_TH;            // after the final norm
  std::vector<LayerRoute> routes;  // one per MoE layer, ascending layer
};

class Decoder {
 public:
  // config.vocab_size must be set. Nothing is allocated when precision.device is kMeta.
  Decoder(const config::ModelConfig& config, std::int64_t sequence_length,
          const ops::PrecisionPolicy& precision);
  ~Decoder();

  [[nodiscard]] DecoderOutput forward(const Batch& batch, const ForwardContext& context);
  // Sum over labels of the negative log likelihood (nats).
  [[nodiscard]] at::Tensor loss_sum(const at::Tensor& hidden_TH, const at::Tensor& label_T);
  [[nodiscard]] at::Tensor loss_per_token(const at::Tensor& hidden_TH, const at::Tensor& label_T);
  // [T, V] accumulation type.
  [[nodiscard]] at::Tensor logits(const at::Tensor& hidden_TH);

  void initialize(std::uint64_t seed);
  [[nodiscard]] std::vector<ops::Parameter*> parameters();
  // Routers by layer, for after_step and state.
  [[nodiscard]] std::map<std::int64_t, routing::Router*> routers();
  [[nodiscard]] const config::ModelConfig& config() const { return config_; }
  [[nodiscard]] const ops::PrecisionPolicy& precision() const { return precision_; }
  [[nodiscard]] at::Device device() const { return precision_.device; }

 private:
  [[nodiscard]] const ops::Parameter& output_matrix() const;

  config::ModelConfig config_;
  ops::PrecisionPolicy precision_;
  ops::Parameter embedding_;
  std::vector<std::unique_ptr<Block>> blocks_;
  ops::Parameter norm_;
  ops::Parameter head_;  // unused when tied
};

struct ParameterCounts {
  std::int64_t total = 0;
  std::int64_t embedding = 0;   // input embedding (counted in total)
  std::int64_t head = 0;        // output matrix when untied
  std::int64_t per_expert = 0;  // one expert of one layer
  std::int64_t num_moe_layers = 0;
  std::int64_t dense_matmul = 0;  // matrix parameters every token uses (head included)
  // Matrix parameters that one token uses when each MoE layer gives it k experts.
  [[nodiscard]] double activated(double k) const {
    return static_cast<double>(dense_matmul) +
           k * static_cast<double>(per_expert) * static_cast<double>(num_moe_layers);
  }
};
// From shapes alone; allocates nothing.
[[nodiscard]] ParameterCounts count_parameters(const config::ModelConfig& config);

}  // namespace switchyard::model
