#include "switchyard/model/trunk.h"

#include <utility>

#include "model/block.h"
#include "model/recompute.h"
#include "switchyard/core/error.h"
#include "switchyard/model/kv_cache.h"
#include "switchyard/ops/embedding.h"
#include "switchyard/ops/rms_norm.h"

namespace switchyard::model {
namespace {

constexpr std::int64_t kEmbeddingLayer = 0xFFFFFF;  // in dropout's counter

}  // namespace

Trunk::Trunk(const config::ModelConfig& config, const TrunkBuild& build)
    : config_(config), build_(build) {
  SWITCHYARD_CHECK(config.vocab_size > 0, "the vocabulary size must be set, got {}",
                   config.vocab_size);
  embedding_ = ops::make_parameter({.name = "model.embed_tokens.weight",
                                    .shape = {config.vocab_size, config.hidden_size},
                                    .init_std = config.init_std,
                                    .decay = false},
                                   build.precision);
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    blocks_.push_back(std::make_unique<Block>(config, layer, build));
  }
  norm_ = make_norm("model.norm.weight", config.hidden_size, build.precision);
}

Trunk::~Trunk() = default;

TrunkOutput Trunk::forward(const Batch& batch, const ForwardContext& context) {
  SWITCHYARD_CHECK(context.cache == nullptr || build_.causal,
                   "cached tokens would have to see the new ones: a cache needs causal attention");
  at::Tensor x_TH =
      residual_dropout(ops::embedding(batch.token_T, embedding_.value, embedding_.grad), batch,
                       context, config_.dropout, kEmbeddingLayer, DropoutSite::embedding);
  TrunkOutput output;
  for (const auto& block : blocks_) {
    Block::Output out = context.recompute ? forward_recomputed(*block, x_TH, batch, context)
                                          : block->forward(x_TH, batch, context);
    x_TH = std::move(out.x_TH);
    if (out.route) output.routes.push_back(std::move(*out.route));
  }
  if (context.cache != nullptr) context.cache->advance(batch.sequence_offset);
  output.hidden_TH = ops::rms_norm(x_TH, norm_.value, config_.norm_eps);
  return output;
}

std::vector<ops::Parameter*> Trunk::parameters() {
  std::vector<ops::Parameter*> list{&embedding_};
  for (const auto& block : blocks_) {
    const auto more = block->parameters();
    list.insert(list.end(), more.begin(), more.end());
  }
  list.push_back(&norm_);
  return list;
}

std::map<std::int64_t, routing::Router*> Trunk::routers() {
  std::map<std::int64_t, routing::Router*> routers;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    if (routing::Router* router = blocks_[layer]->router()) {
      routers.emplace(static_cast<std::int64_t>(layer), router);
    }
  }
  return routers;
}

}  // namespace switchyard::model
