// What the program knows about a router by its name. One descriptor per type, in
// src/config/routers/<type>.cpp, listed in src/config/router_registry.cpp: parsing, validation,
// help, plans and advice ask it, and nobody compares names. How it routes is in src/routing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/field_table.h"
#include "switchyard/config/router_config.h"

namespace switchyard::config {

// Defaults of model.moe.loss, written as in YAML.
struct RouterLosses {
  std::string load_balance = "1e-2";
  std::string dynamic = "0";
  std::string normalize = "assignments";
};

// For the rules of a descriptor across options and against the model.
struct RouterCheck {
  std::int64_t num_experts = 0;
  // Reports `message` about `option` unless `holds`; `other` takes part in the rule (or repeats
  // `option`). A rule about a value that is wrong by itself is left out.
  std::function<void(bool holds, std::string_view option, std::string_view other,
                     const std::string& message)>
      require;

  // "must be at most num_experts 8, got 9"
  void require_at_most_experts(std::int64_t value, std::string_view option) const;
};

// An option that looks at later tokens as it is set: a causal model refuses it.
struct BidirectionalOption {
  std::string option;
  std::string reason;  // and what to use instead
};

// A default that depends on other fields, filled in.
struct FilledOption {
  std::string option;
  std::string reason;  // "num_experts"
};

// An option that is set and that another one has switched off.
struct IgnoredOption {
  std::string option;
  std::string reason;  // "target_k is 0"
};

// Experts per token, for plans.
struct RouterExpectation {
  double expected = 0.0;
  double untrained = 0.0;          // in the first steps
  double worst = 0.0;              // every token takes all it may
  std::string reason{};            // of `expected`, one line
  std::string untrained_reason{};  // empty: the same as expected
};

// What a route keeps for its backward pass beside logits, softmax sums and rows, for plans.
struct RouterKeeps {
  int matrices = 0;     // [T, E] in the accumulation type
  int vectors = 0;      // [T] in the accumulation type
  bool chosen = false;  // what ops/route_chosen keeps of its choice
};

struct RouterDescriptor {
  std::string name;
  // Rows of the field table; `key` is the option's name alone. An option that several routers know
  // has the same row in each (but for `access`).
  std::vector<Field> options{};
  RouterOptions default_options;
  // Default of `renormalize`; none: the router has no such option.
  std::optional<bool> renormalize{};
  RouterLosses losses{};
  // It draws random numbers while training: RouterInput::noise is then set.
  bool uses_noise = false;

  // Of every function below the config is one of this type. Null: nothing to check, fill in, ...
  void (*check)(const RouterConfig& router, const RouterCheck& check) = nullptr;
  std::vector<FilledOption> (*fill_defaults)(RouterConfig& router, std::int64_t num_experts,
                                             bool causal) = nullptr;
  std::vector<BidirectionalOption> (*bidirectional)(const RouterConfig& router) = nullptr;
  std::vector<IgnoredOption> (*ignored)(const RouterConfig& router) = nullptr;
  // Names of the tensors that change while training, ascending.
  std::vector<std::string> (*state)(const RouterConfig& router, bool causal) = nullptr;
  // What the numbers in it are of: two routers of this type for which it is the same can go on with
  // each other's state. Null: any two.
  std::string (*state_meaning)(const RouterConfig& router) = nullptr;
  // Never null.
  RouterExpectation (*experts_per_token)(const RouterConfig& router,
                                         std::int64_t num_experts) = nullptr;
  // Null: nothing more.
  RouterKeeps (*keeps)(const RouterConfig& router) = nullptr;
  // The mean experts per token of all MoE layers together that it steers to; none: it steers
  // nothing, or its own layer. Null: none.
  std::optional<double> (*model_budget)(const RouterConfig& router) = nullptr;
  // What to change in its options when memory runs out; empty: nothing.
  std::string (*to_need_less_memory)(const RouterConfig& router) = nullptr;
};

// All routers, in the order of the documentation.
[[nodiscard]] const std::vector<const RouterDescriptor*>& router_descriptors();
// nullptr when there is none of this name.
[[nodiscard]] const RouterDescriptor* find_router(std::string_view name);
// InternalError when there is none.
[[nodiscard]] const RouterDescriptor& router_named(std::string_view name);
// InternalError when config.type is not one of router_descriptors().
[[nodiscard]] const RouterDescriptor& descriptor_of(const RouterConfig& config);

}  // namespace switchyard::config
