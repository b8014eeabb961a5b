// Adds up what steps did between two records and turns it into a StepRecord.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/core/timing.h"
#include "switchyard/telemetry/record.h"

namespace switchyard::telemetry {

// One MoE layer in one step: sums over all ranks and micro-batches.
struct LayerSums {
  std::int64_t layer = 0;
  std::int64_t num_tokens = 0;
  std::vector<std::int64_t> count_E = {};         // rows per expert
  std::vector<std::int64_t> k_histogram_E1 = {};  // tokens with k experts
  double entropy_sum = 0.0;                       // nats
  LossTerms losses = {};                          // raw values of the step
  double weighted_l1 = 0.0;                       // coefficient, which is the layer's own, x l1
  double router_grad_norm = 0.0;                  // of the router's weight, before clipping
  std::map<std::string, double> gauges = {};      // of the router, as the step found them
};

struct StepSums {
  std::int64_t step = 0;
  std::int64_t num_tokens = 0;  // valid tokens over all ranks
  double lm_loss = 0.0;         // nats per label
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  bool skipped = false;  // not finite: counted, but left out of the means
  double seconds = 0.0;
  std::vector<LayerSums> layers = {};
};

// Mean over (token, layer) pairs; 0 without MoE layers.
[[nodiscard]] double experts_per_token(const StepSums& sums);

// Since the run began, resumed or not.
struct RunTotals {
  std::int64_t tokens = 0;
  std::int64_t skipped = 0;  // steps
  // Rows of all MoE layers together, of these tokens; none in a run that a version began which did
  // not count them.
  std::optional<std::int64_t> expert_rows = 0;
};

struct StatisticsOptions {
  config::MoeLossConfig loss;  // coefficients
  // Floating-point operations of training on one token that gets k experts in every MoE layer.
  std::function<double(double k)> flops_per_token;
  double peak_flops = 0.0;  // per second; 0 = unknown
};

class StepStatistics {
 public:
  explicit StepStatistics(StatisticsOptions options);

  void add(const StepSums& sums);
  [[nodiscard]] const RunTotals& totals() const { return totals_; }
  void restore(const RunTotals& totals) { totals_ = totals; }
  [[nodiscard]] bool empty() const { return num_steps_ == 0; }
  // The record of the window, which then starts anew; `phases` are the spans of the same window.
  // Losses, gradient norm: means over the steps that were applied (NaN when none was).
  [[nodiscard]] StepRecord take_record(const SpanTimer& phases, std::uint64_t memory_bytes);

 private:
  // Sums over the applied steps of the window.
  struct Window {
    double lm_loss = 0.0;
    double grad_norm = 0.0;
    std::vector<LayerSums> layers;
  };
  void add_layers(const std::vector<LayerSums>& layers);
  [[nodiscard]] std::vector<LayerRecord> layer_records() const;
  void fill_losses(StepRecord& record) const;

  StatisticsOptions options_;
  Window window_;
  StepSums last_;
  std::int64_t num_steps_ = 0;    // of the window
  std::int64_t num_applied_ = 0;  // of the window
  std::int64_t window_tokens_ = 0;
  double window_seconds_ = 0.0;
  RunTotals totals_;
};

// The smallest k that at least `share` of the histogram's tokens do not exceed; 0 when it is empty.
[[nodiscard]] std::int64_t histogram_percentile(const std::vector<std::int64_t>& histogram,
                                                double share);
// Rows per expert -> largest load / mean load - 1; 0 when there are no rows.
[[nodiscard]] double max_violation(const std::vector<std::int64_t>& count_E);

}  // namespace switchyard::telemetry
