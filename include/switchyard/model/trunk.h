// What every model is made of whatever its head: embedding, blocks of attention and (MoE or dense)
// SwiGLU, final norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
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

struct TrunkOutput {
  at::Tensor hidden_TH;            // after the final norm
  std::vector<LayerRoute> routes;  // one per MoE layer, ascending layer
};

struct TrunkBuild {
  std::int64_t sequence_length = 0;  // S, the trained window
  ops::PrecisionPolicy precision = {};
  bool causal = true;  // a token sees itself and earlier ones; false: all of its sequence
  moe::ExpertPlacement placement = {};
};

class Trunk {
 public:
  // config.vocab_size must be set. Nothing is allocated when precision.device is kMeta. Throws
  // UsageError for a router that this kind of attention forbids.
  Trunk(const config::ModelConfig& config, const TrunkBuild& build);
  ~Trunk();

  // A cache needs a causal trunk.
  [[nodiscard]] TrunkOutput forward(const Batch& batch, const ForwardContext& context);

  [[nodiscard]] const ops::Parameter& embedding() const { return embedding_; }  // [V, H]
  // In the order of files.
  [[nodiscard]] std::vector<ops::Parameter*> parameters();
  // By layer.
  [[nodiscard]] std::map<std::int64_t, routing::Router*> routers();
  [[nodiscard]] const config::ModelConfig& config() const { return config_; }
  [[nodiscard]] const ops::PrecisionPolicy& precision() const { return build_.precision; }

 private:
  config::ModelConfig config_;
  TrunkBuild build_;
  ops::Parameter embedding_;
  std::vector<std::unique_ptr<Block>> blocks_;
  ops::Parameter norm_;
};

}  // namespace switchyard::model
