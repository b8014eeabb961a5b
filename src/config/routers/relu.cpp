#include "switchyard/config/routers/relu.h"

#include <algorithm>

#include "config/fields/fields.h"
#include "config/routers/target_k.h"
#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

std::vector<Field> options() {
  return {target_k_field(SWITCHYARD_ROUTER_OPTION(ReluOptions, target_k)),
          control_field(SWITCHYARD_ROUTER_OPTION(ReluOptions, control)),
          {.key = "l1_start",
           .access = SWITCHYARD_ROUTER_OPTION(ReluOptions, l1_start),
           .default_text = "1e-8",
           .range = between(1e-12, 1e4),
           .unit = "coefficient",
           .help = "where the coefficient of the weights' L1 loss starts"},
          {.key = "l1_factor",
           .access = SWITCHYARD_ROUTER_OPTION(ReluOptions, l1_factor),
           .default_text = "1.2",
           .range = {.minimum = 1, .maximum = 10, .minimum_open = true},
           .unit = "factor per step",
           .help = "what the coefficient is multiplied by after a step with more experts than "
                   "target_k, divided by after one with fewer"}};
}

void check(const RouterConfig& router, const RouterCheck& rules) {
  require_target(router.options.as<ReluOptions>().target_k, rules);
}

std::vector<std::string> state(const RouterConfig& /*router*/, bool /*causal*/) {
  return {"l1_coefficient"};
}

// Coefficients that layers move alike and those that each moves for itself.
std::string state_meaning(const RouterConfig& router) {
  return fmt::format("coefficient for the mean of the {}",
                     router.options.as<ReluOptions>().control);
}

std::optional<double> model_budget(const RouterConfig& router) {
  const auto& options = router.options.as<ReluOptions>();
  if (options.control != "model") return std::nullopt;
  return options.target_k;
}

RouterKeeps keeps(const RouterConfig& /*router*/) {
  return {.matrices = 1, .chosen = true};  // the weights
}

RouterExpectation experts_per_token(const RouterConfig& router, std::int64_t num_experts) {
  const double target_k = router.options.as<ReluOptions>().target_k;
  const auto most = static_cast<double>(num_experts);
  return {.expected = std::min(target_k, most),
          .untrained = most,
          .worst = most,
          .reason = "target_k, which the L1 loss of the weights is moved to keep",
          .untrained_reason =
              "the first hundred steps: most logits may be above 0 until the L1 loss has grown"};
}

}  // namespace

const RouterDescriptor& relu_router() {
  static const RouterDescriptor descriptor{.name = std::string(ReluOptions::kType),
                                           .options = options(),
                                           .default_options = RouterOptions(ReluOptions{}),
                                           .losses = {.load_balance = "0"},
                                           .check = &check,
                                           .state = &state,
                                           .state_meaning = &state_meaning,
                                           .experts_per_token = &experts_per_token,
                                           .keeps = &keeps,
                                           .model_budget = &model_budget};
  return descriptor;
}

}  // namespace switchyard::config
