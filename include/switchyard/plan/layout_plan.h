// What one rank of a layout holds and sends: memory, bytes and an estimate of time, by arithmetic.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/ranks.h"
#include "switchyard/plan/plan.h"

namespace switchyard::plan {

// Bytes per second that a rank sends and, at the same time, receives.
struct Links {
  std::int64_t ranks_per_node = 8;
  double in_node = 450e9;       // NVLink of an H100: 900 GB/s, both ways together
  double between_nodes = 50e9;  // InfiniBand NDR, 400 Gbit/s to a GPU
};

// Rows of the fullest rank of an expert group, in rows of a rank if all had equally many; at least
// 1. The mean over layers, and the worst of them.
struct Imbalance {
  double mean = 1.0;
  double worst = 1.0;
  std::int64_t worst_layer = 0;
};

struct LayoutOptions {
  std::vector<config::Layout> layouts = {};
  Links links = {};
  // FLOP/s of a rank, of which PlanOptions::flop_use is used.
  double peak_flops = 989e12;  // bf16, dense, of an H100 SXM's data sheet
  // Of each MoE layer the experts' shares of rows in a run (shares_of_run).
  std::vector<std::vector<double>> load_LE = {};
};

// Of one rank, under one supposition about the routers.
struct LayoutUse {
  double state_bytes = 0.0;  // weights, masters, sums of gradients, its part of the moments
  double step_bytes = 0.0;   // batches, activations, buffers, as one process with its micro-batch
  double exchange_bytes = 0.0;  // rows under way, and those kept for the backward pass
  // Sent in a step.
  double gradients_sent = 0.0;  // sums and masters, or sums back
  double rows_sent = 0.0;       // to experts of other ranks, and back, forward and backward
  // Seconds of a step, one after the other, as they are today.
  double compute_seconds = 0.0;
  double gradient_seconds = 0.0;
  double row_seconds = 0.0;
  [[nodiscard]] double memory_bytes() const { return state_bytes + step_bytes + exchange_bytes; }
  [[nodiscard]] double seconds() const { return compute_seconds + gradient_seconds + row_seconds; }
};

struct LayoutPlan {
  config::Layout layout;
  std::int64_t micro_steps = 0;
  Imbalance imbalance = {};
  std::vector<LayoutUse> uses = {};  // as Plan::uses
};

// One for each layout. Throws UsageError for a layout that the configuration does not fit, with
// what would.
[[nodiscard]] std::vector<LayoutPlan> plan_layouts(const Plan& plan, const LayoutOptions& options);

// A table of them for people, below what plan_page() says.
[[nodiscard]] std::string layout_page(const Plan& plan, const std::vector<LayoutPlan>& layouts,
                                      const LayoutOptions& options);

// The shares of rows of every MoE layer's experts in the last records of a run that still count,
// their sum over at most 20. Throws UsageError for a folder without records of experts,
// StorageError.
[[nodiscard]] std::vector<std::vector<double>> shares_of_run(const std::filesystem::path& run);

}  // namespace switchyard::plan
