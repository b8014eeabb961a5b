// The MoE layer: three siblings (router, dispatcher, experts), and a shared expert beside them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/moe/dispatcher.h"
#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/parameter.h"
#include "switchyard/routing/router.h"

namespace switchyard::moe {

struct MoeOutput {
  at::Tensor y_TH;  // to be added to the residual stream
  ops::Routing routing;
  ops::RouteSums sums;
};

struct MoeBuild {
  std::string name;  // e.g. `model.layers.3.moe`
  std::int64_t layer = 0;
  std::int64_t hidden_size = 0;
  bool causal = true;
  std::int64_t sequence_length = 0;
  double init_std = 0.02;
  double down_proj_std = 0.02;
  ops::PrecisionPolicy precision;
  ExpertPlacement placement = {};
};

class SharedExpert;

class MoeLayer {
 public:
  // Throws InternalError for experts that the layer does not have, or that nobody brings rows to.
  MoeLayer(const config::MoeConfig& config, const config::RouterConfig& router,
           const MoeBuild& build);
  ~MoeLayer();
  // y_t = the token's rows, each times its weight, plus the shared expert's y where there is one.
  // `first`: replay that route instead of routing (Router::replay), in a block computed again.
  [[nodiscard]] MoeOutput forward(const routing::RouterInput& input,
                                  const routing::RouteResult* first = nullptr);
  [[nodiscard]] routing::Router& router() { return *router_; }
  [[nodiscard]] std::vector<ops::Parameter*> parameters();

 private:
  std::unique_ptr<routing::Router> router_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::shared_ptr<ExpertCompute> compute_;
  // Of the e experts held here; {id} is global.
  ops::Parameter w1_;  // [e, 2F, H]; parts model...experts.{id}.{gate,up}_proj.weight
  ops::Parameter w2_;  // [e, H, F]; parts ...experts.{id}.down_proj.weight
  std::unique_ptr<SharedExpert> shared_;  // parts ...shared_expert.*; none: nullptr
};

}  // namespace switchyard::moe
