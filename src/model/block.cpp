#include "model/block.h"

#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "switchyard/config/router.h"
#include "switchyard/model/kv_cache.h"
#include "switchyard/ops/dropout.h"
#include "switchyard/ops/rms_norm.h"

namespace switchyard::model {
namespace {

static_assert(routing::NoiseKey::kSite > static_cast<std::int64_t>(DropoutSite::mlp));

// [B] on the device that routes.
at::Tensor cached_keys(const KvCache& cache, at::Device device) {
  std::vector<std::int64_t> count_B;
  for (std::int64_t b = 0; b < cache.num_sequences(); ++b) count_B.push_back(cache.length(b));
  return at::tensor(count_B, at::kLong).to(device);
}

}  // namespace

ops::Parameter make_norm(const std::string& name, std::int64_t size,
                         const ops::PrecisionPolicy& precision) {
  return ops::make_parameter({.name = name,
                              .shape = {size},
                              .initializer = ops::Initializer::ones,
                              .decay = false,
                              .keep_accumulation_type = true},
                             precision);
}

double residual_std(const config::ModelConfig& config) {
  return config.init_std / std::sqrt(2.0 * static_cast<double>(config.num_layers));
}

at::Tensor residual_dropout(const at::Tensor& x_TH, const Batch& batch,
                            const ForwardContext& context, double rate, std::int64_t layer,
                            DropoutSite site) {
  if (!context.training || rate == 0.0) return x_TH;
  return ops::dropout(x_TH, batch.token_idx_T, rate,
                      {.seed = context.seed,
                       .step = context.step,
                       .layer = layer,
                       .site = static_cast<std::int64_t>(site)});
}

Block::Block(const config::ModelConfig& config, std::int64_t layer, const TrunkBuild& build)
    : layer_(layer),
      dropout_(config.dropout),
      norm_eps_(config.norm_eps),
      input_norm_(make_norm(fmt::format("model.layers.{}.input_norm.weight", layer),
                            config.hidden_size, build.precision)),
      post_attention_norm_(
          make_norm(fmt::format("model.layers.{}.post_attention_norm.weight", layer),
                    config.hidden_size, build.precision)),
      attention_(config, layer, build, fmt::format("model.layers.{}.self_attn", layer)) {
  const std::vector<std::int64_t>& moe_layers = config.moe.layers;
  if (std::find(moe_layers.begin(), moe_layers.end(), layer_) != moe_layers.end()) {
    const config::RouterConfig& router = config.router_at(layer_);
    router_uses_noise_ = config::descriptor_of(router).uses_noise;
    moe_.emplace(config.moe, router,
                 moe::MoeBuild{.name = fmt::format("model.layers.{}.moe", layer_),
                               .layer = layer_,
                               .hidden_size = config.hidden_size,
                               .causal = build.causal,
                               .sequence_length = build.sequence_length,
                               .init_std = config.init_std,
                               .down_proj_std = residual_std(config),
                               .precision = build.precision,
                               .placement = build.placement});
  } else {
    mlp_.emplace(moe::DenseMlpBuild{.name = fmt::format("model.layers.{}.mlp", layer_),
                                    .hidden_size = config.hidden_size,
                                    .size = config.ffn_size,
                                    .init_std = config.init_std,
                                    .down_proj_std = residual_std(config),
                                    .precision = build.precision});
  }
}

Block::Output Block::forward(const at::Tensor& x_TH, const Batch& batch,
                             const ForwardContext& context, const routing::RouteResult* first) {
  // A replayed route has read the attention already.
  const auto measure =
      moe_ && first == nullptr ? moe_->router().importance() : ops::ImportanceMeasure::none;
  const Attention::Output attended = attention_.forward(
      ops::rms_norm(x_TH, input_norm_.value, norm_eps_), batch, context, measure);
  Output output;
  output.x_TH = x_TH.add(
      residual_dropout(attended.y_TH, batch, context, dropout_, layer_, DropoutSite::attention));
  const at::Tensor normed_TH = ops::rms_norm(output.x_TH, post_attention_norm_.value, norm_eps_);
  at::Tensor y_TH;
  if (moe_) {
    routing::RouterInput input;
    input.x_TH = normed_TH;
    input.importance_T = attended.importance_T;
    input.valid_T = batch.valid_T;
    input.sequence_offset_B1 = batch.sequence_offset_B1;
    input.training = context.training;
    if (context.training && router_uses_noise_) {
      input.noise = routing::NoiseKey{.seed = context.seed,
                                      .step = context.step,
                                      .layer = layer_,
                                      .token_idx_T = batch.token_idx_T};
    }
    if (context.cache != nullptr && measure != ops::ImportanceMeasure::none) {
      input.cached_keys_B = cached_keys(*context.cache, x_TH.device());
    }
    moe::MoeOutput routed = moe_->forward(input, first);
    y_TH = routed.y_TH;
    output.route = LayerRoute{
        .layer = layer_, .routing = std::move(routed.routing), .sums = std::move(routed.sums)};
  } else {
    y_TH = mlp_->forward(normed_TH);
  }
  output.x_TH =
      output.x_TH.add(residual_dropout(y_TH, batch, context, dropout_, layer_, DropoutSite::mlp));
  return output;
}

std::vector<ops::Parameter*> Block::parameters() {
  std::vector<ops::Parameter*> list{&input_norm_};
  const auto append = [&list](const std::vector<ops::Parameter*>& more) {
    list.insert(list.end(), more.begin(), more.end());
  };
  append(attention_.parameters());
  list.push_back(&post_attention_norm_);
  append(moe_ ? moe_->parameters() : mlp_->parameters());
  return list;
}

}  // namespace switchyard::model
