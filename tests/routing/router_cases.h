// The one list of what the router contract suite runs on: every router type, with the options that
// change how it behaves. A new router adds its entries here.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"

namespace switchyard::routing::testing {

struct RouterCase {
  std::string name;
  config::RouterConfig config;
  bool causal = true;
  // Weights are probabilities or shares of one, rather than any numbers above 0.
  bool weights_are_shares = true;
  // A token's experts are its most probable ones, however many.
  bool takes_the_best = true;
  // Training before a test begins, for routers that begin in another way than they go on.
  std::int64_t steps_before = 0;

  friend void PrintTo(const RouterCase& entry, std::ostream* out) { *out << entry.name; }
};

inline config::RouterConfig top_k_config(std::int64_t k, bool renormalize) {
  return config::RouterConfig(config::TopKOptions{.k = k}, renormalize);
}

inline config::RouterConfig biased_top_k_config(std::int64_t k, bool renormalize) {
  return config::RouterConfig(config::TopKOptions{.k = k, .bias_rate = 0.05}, renormalize);
}

inline config::RouterConfig top_p_config(double p) {
  return config::RouterConfig(config::TopPOptions{.p = p});
}

inline config::RouterConfig limited_top_p_config(double p, std::int64_t max_experts) {
  return config::RouterConfig(config::TopPOptions{.p = p, .max_experts = max_experts}, true);
}

inline config::RouterConfig warming_top_p_config(double p, double from, std::int64_t steps) {
  return config::RouterConfig(
      config::TopPOptions{.p = p, .p_warmup = config::PWarmup{from, steps}});
}

inline config::RouterConfig steered_top_p_config(double target_k, const std::string& control) {
  return config::RouterConfig(
      config::TopPOptions{.p = 0.4, .target_k = target_k, .control = control});
}

inline config::RouterConfig normalized_top_p_config(double p) {
  return config::RouterConfig(config::TopPOptions{.p = p, .normalize_logits = true});
}

inline config::RouterConfig relu_config(double target_k, const std::string& control = "model") {
  return config::RouterConfig(config::ReluOptions{.target_k = target_k, .control = control});
}

inline config::RouterConfig expert_threshold_config(double target_k,
                                                    std::int64_t threshold_warmup) {
  return config::RouterConfig(
      config::ExpertThresholdOptions{.target_k = target_k, .threshold_warmup = threshold_warmup});
}

inline config::RouterConfig importance_config(const std::string& measure,
                                              const std::string& allocation = "proportional") {
  return config::RouterConfig(
      config::AttentionImportanceOptions{.importance = measure, .allocation = allocation});
}

inline std::vector<RouterCase> router_cases() {
  const config::RouterConfig any_number(
      config::AttentionImportanceOptions{.k_mean = 1.5, .k_min = 0}, true);
  return {
      {"top_k_one", top_k_config(1, false)},
      {"top_k_two_renormalized", top_k_config(2, true)},
      {"top_k_all", top_k_config(6, false)},
      {"top_k_biased", biased_top_k_config(2, false)},
      {.name = "top_k_biased_renormalized_later",
       .config = biased_top_k_config(3, true),
       .takes_the_best = false,
       .steps_before = 3},
      {"top_p", top_p_config(0.4)},
      {"top_p_normalized", normalized_top_p_config(0.5)},
      {"top_p_nearly_zero", top_p_config(1e-30)},
      {"top_p_one", top_p_config(1.0)},
      {"top_p_limited_renormalized", limited_top_p_config(0.9, 2)},
      {"top_p_warming_up", warming_top_p_config(0.3, 0.95, 10)},
      {"top_p_with_a_target", steered_top_p_config(2.0, "model")},
      {"top_p_with_a_target_by_layer", steered_top_p_config(1.5, "layer")},
      {"importance_causal_entropy", importance_config("attention_entropy")},
      {"importance_causal_peak", importance_config("attention_peak")},
      {"importance_causal_down_to_no_expert", any_number},
      {"importance_received", importance_config("attention_received"), false},
      {"importance_causal_peak_ceil", importance_config("attention_peak", "ceil_experts")},
      {"importance_received_peak", importance_config("attention_received_peak"), false},
      {"importance_received_peak_ceil",
       importance_config("attention_received_peak", "ceil_experts"), false},
      {"importance_default_of_an_encoder",
       config::RouterConfig(config::AttentionImportanceOptions{}), false},
      {"importance_entropy_budget", importance_config("attention_entropy", "budget"), false},
      {.name = "relu", .config = relu_config(2.5), .weights_are_shares = false},
      {.name = "relu_by_layer", .config = relu_config(2.5, "layer"), .weights_are_shares = false},
      {.name = "expert_threshold_warming_up",
       .config = expert_threshold_config(2.2, 100),
       .weights_are_shares = false},
      {.name = "expert_threshold",
       .config = expert_threshold_config(2.2, 1),
       .weights_are_shares = false,
       .takes_the_best = false,
       .steps_before = 2},
  };
}

}  // namespace switchyard::routing::testing
