// Adds up what the micro-steps of one training step did, over micro-steps and ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/model/model.h"
#include "switchyard/routing/losses.h"
#include "switchyard/telemetry/step_statistics.h"

namespace switchyard::train {

// A router's own sums over all ranks, as in routing::GlobalSums.
using NamedSums = std::map<std::string, std::vector<double>>;

class StepAccumulator {
 public:
  explicit StepAccumulator(comm::Communicator& communicator) : communicator_(communicator) {}

  // The micro-step's rows per expert over all ranks, [E] int64 for each MoE layer: one all-reduce
  // for all layers, no wait for the device.
  [[nodiscard]] std::vector<at::Tensor> reduce_counts(const std::vector<model::LayerRoute>& routes);

  // This rank's part: the sum of negative log likelihoods and each layer's raw loss shares.
  void add_losses(const at::Tensor& lm_loss_sum, const std::vector<model::LayerRoute>& routes,
                  const std::vector<routing::LossShares>& shares);

  struct Totals {
    double lm_loss_sum = 0.0;
    std::vector<telemetry::LayerSums> layers;  // of the whole step, all ranks
    std::vector<NamedSums> named;              // routers' own sums, per layer
  };
  // Totals over all ranks (one all-reduce), on the host. `num_tokens` is the step's.
  [[nodiscard]] Totals finish(std::int64_t num_tokens);

 private:
  struct Layer {
    std::int64_t layer = 0;
    std::int64_t num_experts = 0;
    double l1_coefficient = 0.0;
    std::map<std::string, std::int64_t> named = {};  // the router's own sums: how many numbers each
  };
  void remember_layers(const std::vector<model::LayerRoute>& routes);

  comm::Communicator& communicator_;
  std::vector<Layer> layers_;
  at::Tensor integers_;  // per layer: count_E, k_histogram_E1; int64, over ranks
  at::Tensor reals_;     // lm, then per layer: entropy, 4 losses, named sums; fp64, this rank
};

}  // namespace switchyard::train
