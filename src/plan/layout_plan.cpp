#include "switchyard/plan/layout_plan.h"

#include <algorithm>
#include <numeric>
#include <system_error>
#include <utility>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/telemetry/read_metrics.h"

namespace switchyard::plan {
namespace {

using config::Layout;

// The numbers that everything here is made of.
struct Sizes {
  double ranks;
  double expert;         // ranks of an expert group
  double replicas;       // of an expert
  double compute_bytes;  // of an element
  double sum_bytes;
};

Sizes sizes_of(const Plan& plan, const Layout& layout) {
  const bool is_double = plan.config.train.precision == "fp64";
  const auto ranks = static_cast<double>(layout.num_ranks);
  const auto expert = static_cast<double>(layout.expert);
  return {.ranks = ranks,
          .expert = expert,
          .replicas = ranks / expert,
          .compute_bytes = is_double                               ? 8.0
                           : plan.config.train.precision == "bf16" ? 2.0
                                                                   : 4.0,
          .sum_bytes = is_double ? 8.0 : 4.0};
}

double num_expert_parameters(const Plan& plan) {
  return static_cast<double>(plan.parameters.per_expert * plan.parameters.num_moe_layers *
                             plan.config.model.moe.num_experts);
}

// What of `bytes` that `ranks` have alike a rank sends when they are added up, or gathered.
double sent_of(double bytes, double ranks) {
  return bytes * (ranks - 1.0) / ranks;
}

bool shares_out(const Plan& plan, const Layout& layout) {
  return plan.config.parallel.shares_out_moments(layout.num_ranks);
}

double state_bytes(const Plan& plan, const Layout& layout) {
  const Sizes size = sizes_of(plan, layout);
  const StateBytes all = plan.state;
  const StateBytes experts = plan.experts_state;
  const auto held = [&](double StateBytes::*of) {
    return all.*of - experts.*of + experts.*of / size.expert;
  };
  double bytes =
      held(&StateBytes::weights) + held(&StateBytes::masters) + held(&StateBytes::gradients);
  if (!shares_out(plan, layout)) return bytes + held(&StateBytes::moments);
  bytes += all.moments / size.ranks;  // every element on one rank
  // The sums of its own part, beside the buffer that all are added up from.
  return bytes + (all.gradients - experts.gradients) / size.ranks +
         (size.replicas > 1.0 ? experts.gradients / size.ranks : 0.0);
}

double gradients_sent(const Plan& plan, const Layout& layout) {
  const Sizes size = sizes_of(plan, layout);
  const double experts = num_expert_parameters(plan);
  const double dense = static_cast<double>(plan.parameters.total) - experts;
  // Sums there and masters back, or sums there and back: the same bytes.
  return 2.0 * size.sum_bytes *
         (sent_of(dense, size.ranks) + sent_of(experts / size.expert, size.replicas));
}

// Rows of a rank in a step, all MoE layers together.
double rows_of(const Plan& plan, const PlannedUse& use, const Layout& layout) {
  return plan.tokens_per_step / static_cast<double>(layout.num_ranks) *
         std::accumulate(use.experts.k_L.begin(), use.experts.k_L.end(), 0.0);
}

double rows_sent(const Plan& plan, const PlannedUse& use, const Layout& layout) {
  const Sizes size = sizes_of(plan, layout);
  const double row = static_cast<double>(plan.config.model.hidden_size) * size.compute_bytes;
  const double forward = 2.0 * row + size.sum_bytes;   // rows and their weights, results
  const double backward = 2.0 * row + size.sum_bytes;  // gradients of results, of rows and weights
  const double passes = plan.config.train.recompute ? 2.0 * forward : forward;
  return sent_of(rows_of(plan, use, layout) * (passes + backward), size.expert);
}

// The fullest rank has `imbalance` times as many rows. The step's own bytes have the copies in the
// order of experts, which nobody makes of what arrives in it: together they are the most it may be.
double exchange_bytes(const Plan& plan, const PlannedUse& use, const Layout& layout,
                      double imbalance) {
  if (layout.expert == 1) return 0.0;
  const Sizes size = sizes_of(plan, layout);
  const double tokens = static_cast<double>(plan.config.train.micro_batch_size) *
                        static_cast<double>(plan.config.data.sequence_length);
  const double row = static_cast<double>(plan.config.model.hidden_size) * size.compute_bytes;
  const double most = *std::max_element(use.experts.k_L.begin(), use.experts.k_L.end());
  const double all = std::accumulate(use.experts.k_L.begin(), use.experts.k_L.end(), 0.0);
  const double kept = (plan.config.train.recompute ? most : all) * imbalance;
  return tokens * row * (kept + 2.0 * most * imbalance);  // what leaves and what arrives
}

double bandwidth(const Links& links, std::int64_t num_ranks) {
  return num_ranks <= links.ranks_per_node ? links.in_node : links.between_nodes;
}

Imbalance imbalance_of(const std::vector<std::vector<double>>& load_LE, std::int64_t expert) {
  Imbalance found;
  if (load_LE.empty() || expert == 1) return found;
  found.mean = 0.0;
  for (std::size_t layer = 0; layer < load_LE.size(); ++layer) {
    const std::vector<double>& load_E = load_LE[layer];
    const auto per_rank = static_cast<std::ptrdiff_t>(load_E.size()) / expert;
    const double sum = std::accumulate(load_E.begin(), load_E.end(), 0.0);
    double most = 0.0;
    for (auto first = load_E.begin(); first != load_E.end(); first += per_rank) {
      most = std::max(most, std::accumulate(first, first + per_rank, 0.0));
    }
    const double factor = sum > 0.0 ? most / sum * static_cast<double>(expert) : 1.0;
    found.mean += factor / static_cast<double>(load_LE.size());
    if (factor > found.worst) {
      found.worst = factor;
      found.worst_layer = static_cast<std::int64_t>(layer);
    }
  }
  return found;
}

LayoutUse use_of(const Plan& plan, const PlannedUse& use, const LayoutOptions& options,
                 const LayoutPlan& layout) {
  const Layout& of = layout.layout;
  const Sizes size = sizes_of(plan, of);
  const PlannedUse::OnDevice& device = use.on(Device::gpu, plan.config.train.recompute);
  LayoutUse found{.state_bytes = state_bytes(plan, of),
                  .step_bytes = device.memory.total(),
                  .exchange_bytes = exchange_bytes(plan, use, of, layout.imbalance.worst),
                  .gradients_sent = gradients_sent(plan, of),
                  .rows_sent = rows_sent(plan, use, of)};
  // A layer waits for the fullest rank; what is not of the experts all have alike.
  const double tokens = plan.tokens_per_step / size.ranks;
  const double dense = plan.dense_flops_per_token;
  const double experts = use.flops_per_token - dense;
  const double recomputed = plan.config.train.recompute ? 4.0 / 3.0 : 1.0;
  found.compute_seconds = tokens * (dense + experts * layout.imbalance.mean) * recomputed /
                          (options.peak_flops * plan.options.flop_use);
  found.gradient_seconds = found.gradients_sent / bandwidth(options.links, of.num_ranks);
  found.row_seconds = found.rows_sent * layout.imbalance.mean / bandwidth(options.links, of.expert);
  return found;
}

// By MoE layer.
std::vector<std::vector<double>> shares_in(const telemetry::StepRecord& record) {
  std::vector<std::vector<double>> shares;
  for (const telemetry::LayerRecord& layer : record.layers) {
    if (!layer.load.empty()) shares.push_back(layer.load);
  }
  return shares;
}

}  // namespace

std::vector<LayoutPlan> plan_layouts(const Plan& plan, const LayoutOptions& options) {
  const config::TrainConfig& train = plan.config.train;
  for (const std::vector<double>& load_E : options.load_LE) {
    if (std::ssize(load_E) == plan.config.model.moe.num_experts) continue;
    throw UsageError(
        fmt::format("--load: the run has {} in a layer, the configuration {}",
                    counted(std::ssize(load_E), "expert"), plan.config.model.moe.num_experts),
        "name a run of the same model");
  }
  std::vector<LayoutPlan> plans;
  for (const Layout& layout : options.layouts) {
    config::Config config = plan.config;
    config.parallel.expert = layout.expert;
    if (layout.expert > 1 &&
        (config.model.moe.num_experts == 0 || config.model.moe.num_experts % layout.expert != 0)) {
      throw UsageError(fmt::format("layout {}: {} cannot be split over groups of {}", layout.name(),
                                   counted(config.model.moe.num_experts, "expert"), layout.expert),
                       "RANKSxEXPERT: EXPERT divides model.moe.num_experts");
    }
    try {
      config::check_ranks(config, layout.num_ranks);
    } catch (const config::ConfigError& error) {
      throw UsageError(fmt::format("layout {}: {}", layout.name(), error.what()), error.hint());
    }
    LayoutPlan found{
        .layout = layout,
        .micro_steps = train.global_batch_size / (train.micro_batch_size * layout.num_ranks),
        .imbalance = imbalance_of(options.load_LE, layout.expert)};
    for (const PlannedUse& use : plan.uses) {
      found.uses.push_back(use_of(plan, use, options, found));
    }
    plans.push_back(std::move(found));
  }
  return plans;
}

std::vector<std::vector<double>> shares_of_run(const std::filesystem::path& run) {
  constexpr std::size_t kMostRecords = 20;
  const std::filesystem::path file = run / "metrics.jsonl";
  std::error_code unknown;
  if (!std::filesystem::exists(file, unknown)) {
    throw UsageError(
        fmt::format("--load: '{}' holds no metrics.jsonl", printable_line(run.string())),
        "name the folder of a run");
  }
  const telemetry::Metrics metrics = telemetry::read_metrics(file);
  for (const std::string& note : metrics.notes) log::warning("--load: {}", note);
  std::vector<std::vector<std::vector<double>>> records;
  for (const telemetry::StepRecord& record : metrics.steps) {
    if (std::vector<std::vector<double>> shares = shares_in(record); !shares.empty()) {
      records.push_back(std::move(shares));
    }
  }
  if (records.empty()) {
    throw UsageError(fmt::format("--load: no record in {} tells the load of experts",
                                 printable_line(file.string())),
                     "the run has no experts, or has not logged a step yet");
  }
  const std::size_t num_used = std::min(kMostRecords, records.size());
  std::vector<std::vector<double>> sum = records.back();
  for (std::size_t i = records.size() - num_used; i + 1 < records.size(); ++i) {
    for (std::size_t layer = 0; layer < std::min(sum.size(), records[i].size()); ++layer) {
      const std::size_t num_experts = std::min(sum[layer].size(), records[i][layer].size());
      for (std::size_t expert = 0; expert < num_experts; ++expert) {
        sum[layer][expert] += records[i][layer][expert];
      }
    }
  }
  return sum;
}

}  // namespace switchyard::plan
