#include "switchyard/model/decoder.h"

#include <ATen/ops/linear.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "model/block.h"
#include "model/recompute.h"
#include "switchyard/core/error.h"
#include "switchyard/model/kv_cache.h"
#include "switchyard/ops/embedding.h"
#include "switchyard/ops/linear_cross_entropy.h"
#include "switchyard/ops/rms_norm.h"

namespace switchyard::model {
namespace {

constexpr std::int64_t kEmbeddingLayer = 0xFFFFFF;  // in dropout's counter

}  // namespace

Decoder::Decoder(const config::ModelConfig& config, std::int64_t sequence_length,
                 const ops::PrecisionPolicy& precision)
    : config_(config), precision_(precision) {
  SWITCHYARD_CHECK(config.vocab_size > 0, "the vocabulary size must be set, got {}",
                   config.vocab_size);
  const std::vector<std::int64_t> table{config.vocab_size, config.hidden_size};
  embedding_ = ops::make_parameter({.name = "model.embed_tokens.weight",
                                    .shape = table,
                                    .init_std = config.init_std,
                                    .decay = false},
                                   precision);
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    blocks_.push_back(std::make_unique<Block>(
        config,
        BlockBuild{.layer = layer, .sequence_length = sequence_length, .precision = precision}));
  }
  norm_ = make_norm("model.norm.weight", config.hidden_size, precision);
  if (!config.tie_embeddings) {
    head_ = ops::make_parameter(
        {.name = "lm_head.weight", .shape = table, .init_std = config.init_std}, precision);
  }
}

Decoder::~Decoder() = default;

const ops::Parameter& Decoder::output_matrix() const {
  return config_.tie_embeddings ? embedding_ : head_;
}

DecoderOutput Decoder::forward(const Batch& batch, const ForwardContext& context) {
  at::Tensor x_TH =
      residual_dropout(ops::embedding(batch.token_T, embedding_.value, embedding_.grad), batch,
                       context, config_.dropout, kEmbeddingLayer, DropoutSite::embedding);
  DecoderOutput output;
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

at::Tensor Decoder::loss_sum(const at::Tensor& hidden_TH, const at::Tensor& label_T) {
  const ops::Parameter& matrix = output_matrix();
  return ops::linear_cross_entropy(hidden_TH, matrix.value, label_T,
                                   {.chunk_tokens = 0, .weight_grad_VH = matrix.grad});
}

at::Tensor Decoder::loss_per_token(const at::Tensor& hidden_TH, const at::Tensor& label_T) {
  return ops::linear_cross_entropy_per_token(hidden_TH, output_matrix().value, label_T);
}

at::Tensor Decoder::logits(const at::Tensor& hidden_TH) {
  return at::linear(hidden_TH, output_matrix().value).to(precision_.accumulation());
}

void Decoder::initialize(std::uint64_t seed) {
  for (ops::Parameter* parameter : parameters()) ops::initialize(*parameter, seed);
}

std::vector<ops::Parameter*> Decoder::parameters() {
  std::vector<ops::Parameter*> list{&embedding_};
  for (const auto& block : blocks_) {
    const auto more = block->parameters();
    list.insert(list.end(), more.begin(), more.end());
  }
  list.push_back(&norm_);
  if (!config_.tie_embeddings) list.push_back(&head_);
  return list;
}

std::map<std::int64_t, routing::Router*> Decoder::routers() {
  std::map<std::int64_t, routing::Router*> routers;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    if (routing::Router* router = blocks_[layer]->router()) {
      routers.emplace(static_cast<std::int64_t>(layer), router);
    }
  }
  return routers;
}

ParameterCounts count_parameters(const config::ModelConfig& config) {
  Decoder decoder(config, /*sequence_length=*/1, {.compute = at::kFloat, .device = at::kMeta});
  ParameterCounts counts;
  for (const ops::Parameter* parameter : decoder.parameters()) {
    counts.total += parameter->numel();
    const bool is_matrix = parameter->value.dim() >= 2;
    if (parameter->is_expert) {
      counts.per_expert += parameter->numel() / config.moe.num_experts;
    } else if (parameter->name == "model.embed_tokens.weight") {
      counts.embedding = parameter->numel();
    } else if (is_matrix) {
      counts.dense_matmul += parameter->numel();
      if (parameter->name == "lm_head.weight") counts.head = parameter->numel();
    }
  }
  counts.num_moe_layers = static_cast<std::int64_t>(decoder.routers().size());
  if (counts.num_moe_layers > 0) counts.per_expert /= counts.num_moe_layers;
  if (config.tie_embeddings) counts.dense_matmul += counts.embedding;
  return counts;
}

}  // namespace switchyard::model
