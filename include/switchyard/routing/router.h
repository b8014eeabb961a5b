// A router maps token states to a Routing. Implementations, one file each in src/routing, are made
// by `make_router`. A router never communicates and never divides sums.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/ops/attention_importance.h"
#include "switchyard/ops/dropout.h"
#include "switchyard/ops/parameter.h"
#include "switchyard/ops/routing.h"

namespace switchyard::routing {

// Where a router's random numbers come from: Philox key = seed, counter = (step, layer << 8 |
// kSite, token index, element / 4), so that they survive resume, recomputation and any layout.
struct NoiseKey {
  static constexpr std::int64_t kSite = 3;  // 0 to 2 are the model's dropout

  std::uint64_t seed = 0;
  std::int64_t step = 0;  // 0-based index of the optimizer step
  std::int64_t layer = 0;
  at::Tensor token_idx_T;  // [T] int64, index of the sequence in the global batch * S + position

  // ops::dropout(x_TH, token_idx_T, rate, place()) draws from it.
  [[nodiscard]] ops::DropoutPlace place() const {
    return {.seed = seed, .step = step, .layer = layer, .site = kSite};
  }
};

struct RouterInput {
  at::Tensor x_TH;                // [T, H] compute dtype
  at::Tensor importance_T;        // [T] the raw measure the router asked for, else undefined
  at::Tensor valid_T;             // [T] bool or undefined
  at::Tensor sequence_offset_B1;  // [B+1] int32
  bool training = false;
  // While training, for routers whose descriptor says `uses_noise`.
  std::optional<NoiseKey> noise{};
  // Generation, for routers that read importance_T: [B] int64 keys each sequence attends to besides
  // this batch's; undefined = none.
  at::Tensor cached_keys_B;
};

struct RouteResult {
  ops::Routing routing;
  ops::RouteSums sums;
};

// One layer's sums of a whole applied step over all ranks, on the host.
struct GlobalSums {
  std::int64_t step = 0;  // the step just applied, counted from 0
  std::int64_t num_tokens = 0;
  std::vector<std::int64_t> count_E = {};
  double model_experts_per_token = 0.0;                   // mean over all MoE layers
  std::map<std::string, std::vector<double>> named = {};  // of one or more numbers each
};

class Router {
 public:
  virtual ~Router() = default;
  Router() = default;
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // A pure function of the input, the weight and the state: routing again gives the same bits.
  [[nodiscard]] virtual RouteResult route(const RouterInput& input) = 0;
  // For a block that is computed again in its backward pass: the values of `first`, which route()
  // returned for this input, with gradients through input.x_TH (ops/replay_route.h). Chooses
  // nothing and reads no state; importance_T may be undefined.
  [[nodiscard]] virtual RouteResult replay(const RouterInput& input, const RouteResult& first) = 0;
  // The statistic of the block's attention that route() reads; nothing is computed for `none`.
  [[nodiscard]] virtual ops::ImportanceMeasure importance() const {
    return ops::ImportanceMeasure::none;
  }
  // The router's weight, [E, H], accumulation type.
  [[nodiscard]] virtual ops::Parameter& weight() = 0;
  // All that training moves by gradients; the weight comes first.
  [[nodiscard]] virtual std::vector<ops::Parameter*> parameters() { return {&weight()}; }
  // Named fp32 CPU tensors outside the optimizer; checkpointed. Empty for stateless routers.
  [[nodiscard]] virtual std::map<std::string, at::Tensor> state() const { return {}; }
  // Takes what state() of an equally configured router returned. Throws DataError, and changes
  // nothing, when a name is missing or unknown, or a shape, dtype or value cannot be right.
  virtual void load_state(const std::map<std::string, at::Tensor>& state);
  // Numbers that route() goes by and that training moves, for people to follow: a gauge's value by
  // name.
  [[nodiscard]] virtual std::map<std::string, double> gauges() const { return {}; }
  // Called once per applied training step with the same sums on all ranks: the only place where
  // state changes.
  virtual void after_step(const GlobalSums& /*sums*/) {}

 protected:
  // Throws DataError unless `given` has the names, shapes and dtype of state(), all values finite.
  void check_state(const std::map<std::string, at::Tensor>& given);
};

struct RouterBuild {
  std::string name;  // parameter name, e.g. `model.layers.3.moe.router.weight`
  std::int64_t layer = 0;
  std::int64_t num_experts = 0;
  std::int64_t hidden_size = 0;
  bool causal = true;
  std::int64_t sequence_length = 0;  // where the normaliser of causal importance starts
  double init_std = 0.02;
  ops::PrecisionPolicy precision;
};

// Unknown types throw UsageError listing the known ones; options that the type refuses (a range, or
// a measure that would look into a causal model's future) throw UsageError naming the key.
[[nodiscard]] std::unique_ptr<Router> make_router(const config::RouterConfig& config,
                                                  const RouterBuild& build);
[[nodiscard]] std::vector<std::string> router_types();

}  // namespace switchyard::routing
