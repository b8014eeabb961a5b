// The attention of one block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/batch.h"
#include "switchyard/model/trunk.h"
#include "switchyard/ops/attention_importance.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::model {

// Parts are named `model.layers.{layer}.{...}.weight` as design and files have them.
class Attention {
 public:
  Attention(const config::ModelConfig& config, std::int64_t layer, const TrunkBuild& build,
            const std::string& name);

  struct Output {
    at::Tensor y_TH;
    at::Tensor importance_T;  // undefined for ImportanceMeasure::none
  };
  [[nodiscard]] Output forward(const at::Tensor& x_TH, const Batch& batch,
                               const ForwardContext& context, ops::ImportanceMeasure measure);
  [[nodiscard]] std::vector<ops::Parameter*> parameters();

 private:
  // Queries and keys after rotation, values.
  struct Heads {
    at::Tensor q_TAD;
    at::Tensor k_TGD;
    at::Tensor v_TGD;
  };
  [[nodiscard]] Heads project(const at::Tensor& x_TH, const Batch& batch) const;

  std::int64_t layer_;
  bool causal_;
  std::int64_t num_heads_;
  std::int64_t num_kv_heads_;
  std::int64_t head_dim_;
  double rope_theta_;
  double norm_eps_;
  ops::Parameter qkv_;  // [(A + 2G) D, H]
  std::optional<ops::Parameter> qkv_bias_;
  std::optional<ops::Parameter> q_norm_;
  std::optional<ops::Parameter> k_norm_;
  ops::Parameter output_;  // [H, A D]
};

}  // namespace switchyard::model
