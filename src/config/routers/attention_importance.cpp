#include "switchyard/config/routers/attention_importance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "config/fields/fields.h"
#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

using Options = AttentionImportanceOptions;

std::vector<Field> options() {
  return {
      {.key = "importance",
       .access = SWITCHYARD_ROUTER_OPTION(Options, importance),
       .default_text = "auto",
       .choices = {"auto", "attention_received", "attention_received_peak", "attention_peak",
                   "attention_entropy"},
       .help = "what attention says about a token; auto: attention_entropy, of an encoder "
               "attention_received (what a token receives is for encoders only)"},
      {.key = "k_mean",
       .access = SWITCHYARD_ROUTER_OPTION(Options, k_mean),
       .default_text = "2",
       .range = {.minimum = 0, .maximum = 65536, .minimum_open = true},
       .unit = "experts per token",
       .help = "experts of a token of average importance"},
      {.key = "k_min",
       .access = SWITCHYARD_ROUTER_OPTION(Options, k_min),
       .default_text = "1",
       .range = between(0, 65536),
       .unit = "experts per token",
       .help = "fewest experts of a token"},
      {.key = "k_max",
       .access = SWITCHYARD_ROUTER_OPTION(Options, k_max),
       .default_kind = DefaultKind::kDepends,
       .default_text = "num_experts",
       .range = between(1, 65536),
       .unit = "experts per token",
       .help = "most experts of a token"},
      {.key = "allocation",
       .access = SWITCHYARD_ROUTER_OPTION(Options, allocation),
       .default_text = "proportional",
       .choices = {"proportional", "budget", "ceil_experts"},
       .help = "proportional: each token by itself; budget: k_mean holds per sequence (encoders "
               "only); ceil_experts: ceil(importance x num_experts), of the two peaks"},
  };
}

std::vector<FilledOption> fill_defaults(RouterConfig& router, std::int64_t num_experts,
                                        bool causal) {
  auto& options = router.options.as<Options>();
  std::vector<FilledOption> filled;
  if (options.importance == "auto") {
    options.importance = options.importance_in(causal);
    filled.push_back({.option = "importance", .reason = causal ? "a decoder" : "an encoder"});
  }
  if (!options.k_max) {
    options.k_max = num_experts;
    filled.push_back({.option = "k_max", .reason = "num_experts"});
  }
  return filled;
}

std::vector<BidirectionalOption> bidirectional(const RouterConfig& router) {
  const auto& options = router.options.as<Options>();
  std::vector<BidirectionalOption> found;
  if (options.importance.starts_with("attention_received")) {
    found.push_back({"importance",
                     options.importance +
                         " looks at later tokens, which a decoder must not; use attention_peak or "
                         "attention_entropy"});
  }
  if (options.allocation == "budget") {
    found.push_back({"allocation",
                     "budget shares experts between a token and later ones, which a decoder must "
                     "not; use proportional"});
  }
  return found;
}

void check(const RouterConfig& router, const RouterCheck& rules) {
  const auto& options = router.options.as<Options>();
  const std::int64_t k_max = options.k_max.value_or(rules.num_experts);
  rules.require_at_most_experts(k_max, "k_max");
  if (options.is_ceil_experts()) {
    rules.require(options.importance.ends_with("_peak"), "allocation", "importance",
                  fmt::format("ceil_experts needs attention_peak or attention_received_peak, which "
                              "are probabilities; importance is {}",
                              options.importance));
    rules.require(options.k_min <= k_max, "k_min", "k_max",
                  fmt::format("must be at most k_max {}, got {}", k_max, options.k_min));
    return;
  }
  rules.require(static_cast<double>(options.k_min) <= options.k_mean, "k_min", "k_mean",
                fmt::format("must be at most k_mean {}, got {}", options.k_mean, options.k_min));
  rules.require(options.k_mean <= static_cast<double>(k_max), "k_mean", "k_max",
                fmt::format("must be at most k_max {}, got {}", k_max, options.k_mean));
}

std::vector<IgnoredOption> ignored(const RouterConfig& router) {
  const auto& options = router.options.as<Options>();
  if (!options.is_ceil_experts() || options.k_mean == Options{}.k_mean) return {};
  return {{"k_mean", "allocation is ceil_experts, by the importance alone"}};
}

// The running mean that importance is relative to; a bidirectional model takes the sequence's, and
// ceil_experts takes the importance as it is.
std::vector<std::string> state(const RouterConfig& router, bool causal) {
  if (!causal || router.options.as<Options>().is_ceil_experts()) return {};
  return {"importance_mean"};
}

// A mean of one measure says nothing about another.
std::string state_meaning(const RouterConfig& router) {
  return router.options.as<Options>().importance_in(/*causal=*/true);  // the others have no state
}

RouterExpectation experts_per_token(const RouterConfig& router, std::int64_t num_experts) {
  const auto& options = router.options.as<Options>();
  const auto worst = static_cast<double>(options.k_max.value_or(num_experts));
  if (options.is_ceil_experts()) {
    // Untrained attention is nearly uniform: its peaks are small, and rounded up to one expert.
    const double fewest = std::max(1.0, static_cast<double>(options.k_min));
    return {.expected = std::sqrt(fewest * worst),
            .untrained = fewest,
            .worst = worst,
            .reason = "assumed: geometric mean of the fewest and the most that ceil_experts gives",
            .untrained_reason = "the first steps: attention is nearly uniform, its peaks small"};
  }
  return {.expected = options.k_mean,
          .untrained = options.k_mean,
          .worst = worst,
          .reason = "k_mean of attention_importance"};
}

}  // namespace

const RouterDescriptor& attention_importance_router() {
  static const RouterDescriptor descriptor{.name = std::string(Options::kType),
                                           .options = options(),
                                           .default_options = RouterOptions(Options{}),
                                           .renormalize = false,
                                           .check = &check,
                                           .fill_defaults = &fill_defaults,
                                           .bidirectional = &bidirectional,
                                           .ignored = &ignored,
                                           .state = &state,
                                           .state_meaning = &state_meaning,
                                           .experts_per_token = &experts_per_token};
  return descriptor;
}

}  // namespace switchyard::config
