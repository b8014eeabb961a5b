// One transformer block: attention, then experts or a dense SwiGLU, each behind a norm and added to
// the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/attention.h"
#include "switchyard/config/config.h"
#include "switchyard/model/batch.h"
#include "switchyard/model/trunk.h"
#include "switchyard/moe/dense_mlp.h"
#include "switchyard/moe/moe_layer.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::model {

class Block {
 public:
  Block(const config::ModelConfig& config, std::int64_t layer, const TrunkBuild& build);

  struct Output {
    at::Tensor x_TH;
    std::optional<LayerRoute> route;
  };
  // `first`: the route of an earlier pass over the same input, to be replayed (recompute.h).
  [[nodiscard]] Output forward(const at::Tensor& x_TH, const Batch& batch,
                               const ForwardContext& context,
                               const routing::RouteResult* first = nullptr);
  [[nodiscard]] std::vector<ops::Parameter*> parameters();
  // nullptr in a dense block.
  [[nodiscard]] routing::Router* router() { return moe_ ? &moe_->router() : nullptr; }

 private:
  std::int64_t layer_;
  double dropout_;
  double norm_eps_;
  bool router_uses_noise_ = false;
  ops::Parameter input_norm_;
  ops::Parameter post_attention_norm_;
  Attention attention_;
  std::optional<moe::MoeLayer> moe_;
  std::optional<moe::DenseMlp> mlp_;
};

// Weights of an RMSNorm: ones, not decayed, in the accumulation type as the norm itself.
[[nodiscard]] ops::Parameter make_norm(const std::string& name, std::int64_t size,
                                       const ops::PrecisionPolicy& precision);
// Initial deviation of the matrices that write to the residual stream: two per layer, scaled so
// that the sum of all branches does not grow with depth (as GPT-2).
[[nodiscard]] double residual_std(const config::ModelConfig& config);

// Where dropout is applied, for the counter of its random numbers; 3 is routing::NoiseKey::kSite.
enum class DropoutSite : std::int64_t { embedding = 0, attention = 1, mlp = 2 };
[[nodiscard]] at::Tensor residual_dropout(const at::Tensor& x_TH, const Batch& batch,
                                          const ForwardContext& context, double rate,
                                          std::int64_t layer, DropoutSite site);

}  // namespace switchyard::model
