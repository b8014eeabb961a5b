#include "model/attention.h"

#include <ATen/ops/flatten.h>
#include <ATen/ops/split_with_sizes.h>

#include "model/block.h"
#include "switchyard/core/error.h"
#include "switchyard/model/kv_cache.h"
#include "switchyard/ops/attention.h"
#include "switchyard/ops/linear.h"
#include "switchyard/ops/rms_norm.h"
#include "switchyard/ops/rope.h"

namespace switchyard::model {
namespace {

// The stacked rows of q, k and v under the names that files give them.
std::vector<ops::LogicalTensor> qkv_parts(const config::ModelConfig& config,
                                          const std::string& name, const std::string& suffix,
                                          std::int64_t columns) {
  const std::int64_t q_rows = config.num_heads * config.head_dim;
  const std::int64_t kv_rows = config.num_kv_heads * config.head_dim;
  const auto shape = [&](std::int64_t rows) {
    return suffix == "bias" ? std::vector<std::int64_t>{rows}
                            : std::vector<std::int64_t>{rows, columns};
  };
  return {{.name = name + ".q_proj." + suffix, .offset = 0, .shape = shape(q_rows)},
          {.name = name + ".k_proj." + suffix, .offset = q_rows * columns, .shape = shape(kv_rows)},
          {.name = name + ".v_proj." + suffix,
           .offset = (q_rows + kv_rows) * columns,
           .shape = shape(kv_rows)}};
}

}  // namespace

Attention::Attention(const config::ModelConfig& config, std::int64_t layer, const TrunkBuild& build,
                     const std::string& name)
    : layer_(layer),
      causal_(build.causal),
      num_heads_(config.num_heads),
      num_kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      rope_theta_(config.rope_theta),
      norm_eps_(config.norm_eps) {
  const std::int64_t qkv_rows = (num_heads_ + 2 * num_kv_heads_) * head_dim_;
  qkv_ = ops::make_parameter({.name = name + ".qkv_proj.weight",
                              .shape = {qkv_rows, config.hidden_size},
                              .parts = qkv_parts(config, name, "weight", config.hidden_size),
                              .init_std = config.init_std},
                             build.precision);
  if (config.qkv_bias) {
    qkv_bias_ = ops::make_parameter({.name = name + ".qkv_proj.bias",
                                     .shape = {qkv_rows},
                                     .parts = qkv_parts(config, name, "bias", 1),
                                     .initializer = ops::Initializer::zeros,
                                     .decay = false},
                                    build.precision);
  }
  if (config.qk_norm) {
    q_norm_ = make_norm(name + ".q_norm.weight", head_dim_, build.precision);
    k_norm_ = make_norm(name + ".k_norm.weight", head_dim_, build.precision);
  }
  output_ = ops::make_parameter({.name = name + ".o_proj.weight",
                                 .shape = {config.hidden_size, num_heads_ * head_dim_},
                                 .init_std = residual_std(config)},
                                build.precision);
}

Attention::Heads Attention::project(const at::Tensor& x_TH, const Batch& batch) const {
  const auto rotate = [&](const at::Tensor& heads_TAD) {
    return ops::rope(heads_TAD, batch.position_T, batch.num_positions, rope_theta_);
  };
  const std::int64_t num_tokens = x_TH.size(0);
  const std::int64_t num_rotated = num_heads_ + num_kv_heads_;
  const std::optional<at::Tensor> bias =
      qkv_bias_ ? std::optional<at::Tensor>(qkv_bias_->value) : std::nullopt;
  const at::Tensor qkv_TXD = ops::linear(x_TH, qkv_.value, bias)
                                 .view({num_tokens, num_rotated + num_kv_heads_, head_dim_});
  // Splits, not slices: the gradient of a split is one concatenation.
  if (!q_norm_) {
    const std::vector<at::Tensor> split = qkv_TXD.split_with_sizes({num_rotated, num_kv_heads_}, 1);
    const at::Tensor rotated = rotate(split[0]);
    const std::vector<at::Tensor> qk = rotated.split_with_sizes({num_heads_, num_kv_heads_}, 1);
    return {.q_TAD = qk[0], .k_TGD = qk[1], .v_TGD = split[1]};
  }
  const std::vector<at::Tensor> split =
      qkv_TXD.split_with_sizes({num_heads_, num_kv_heads_, num_kv_heads_}, 1);
  const at::Tensor q_TAD = ops::rms_norm(split[0], q_norm_->value, norm_eps_);
  const at::Tensor k_TGD = ops::rms_norm(split[1], k_norm_->value, norm_eps_);
  return {.q_TAD = rotate(q_TAD), .k_TGD = rotate(k_TGD), .v_TGD = split[2]};
}

Attention::Output Attention::forward(const at::Tensor& x_TH, const Batch& batch,
                                     const ForwardContext& context,
                                     ops::ImportanceMeasure measure) {
  Heads heads = project(x_TH, batch);
  ops::AttentionOptions options;
  options.sequence_offset = batch.sequence_offset;
  options.causal = causal_;
  options.valid_T = batch.valid_T;
  if (context.cache != nullptr) {
    SWITCHYARD_CHECK(!batch.valid_T.defined(), "generation takes no padding");
    const KvCache::Layer& cached =
        context.cache->append(layer_, heads.k_TGD, heads.v_TGD, batch.sequence_offset);
    heads.k_TGD = cached.k_RGD;
    heads.v_TGD = cached.v_RGD;
    for (std::int64_t b = 0; b < context.cache->num_sequences(); ++b) {
      const auto i = static_cast<std::size_t>(b);
      options.key_begin.push_back(b * context.cache->capacity());
      options.key_end.push_back(options.key_begin.back() + context.cache->length(b) +
                                batch.sequence_offset[i + 1] - batch.sequence_offset[i]);
    }
  }
  const ops::AttentionOutput attended =
      ops::attention(heads.q_TAD, heads.k_TGD, heads.v_TGD, options);
  Output output;
  if (measure != ops::ImportanceMeasure::none) {
    output.importance_T =
        ops::attention_importance(heads.q_TAD, heads.k_TGD, attended.lse_AT, options, measure);
  }
  output.y_TH = ops::linear(attended.out_TAD.flatten(1), output_.value);
  return output;
}

std::vector<ops::Parameter*> Attention::parameters() {
  std::vector<ops::Parameter*> list{&qkv_};
  for (auto* optional : {&qkv_bias_, &q_norm_, &k_norm_}) {
    if (*optional) list.push_back(&**optional);
  }
  list.push_back(&output_);
  return list;
}

}  // namespace switchyard::model
