// Brings token rows to their experts and results home. Split-phase, so that an exchange between
// ranks can overlap with other work; the local dispatcher does everything in finish().
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/routing.h"

namespace switchyard::moe {

struct ExpertWeights {
  at::Tensor w1_E2FH;
  at::Tensor w2_EHF;
  GradSink sink;
};

class Dispatcher {
 public:
  // What begin() hands to finish() of the same dispatcher.
  class Pending {
   public:
    virtual ~Pending() = default;
  };
  virtual ~Dispatcher() = default;
  [[nodiscard]] virtual std::unique_ptr<Pending> begin(const at::Tensor& x_TH,
                                                       const ops::Routing& routing) = 0;
  // Returns y_TH; differentiable in x, the routing's weights and the expert weights.
  [[nodiscard]] virtual at::Tensor finish(std::unique_ptr<Pending> pending,
                                          const ExpertWeights& weights) = 0;
};

// Experts first .. first + count of a layer, by global id.
struct ExpertRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// What a layer tells its dispatcher when it makes it.
struct DispatcherBuild {
  std::string name;              // of the layer, e.g. `model.layers.3.moe`
  std::int64_t num_experts = 0;  // E, those of the routing
  ExpertRange experts;           // held here: the first dims of the weights given to finish()
  std::shared_ptr<ExpertCompute> compute;
};
using DispatcherFactory = std::function<std::unique_ptr<Dispatcher>(const DispatcherBuild& build)>;

// Where the experts of a model's layers are.
struct ExpertPlacement {
  std::optional<ExpertRange> experts = {};  // held here, of every layer; none: all of them
  DispatcherFactory make_dispatcher = {};   // none: the local dispatcher, which needs all experts
};

// For a layer that holds all of its experts.
[[nodiscard]] std::unique_ptr<Dispatcher> make_local_dispatcher(
    std::shared_ptr<ExpertCompute> compute);

}  // namespace switchyard::moe
