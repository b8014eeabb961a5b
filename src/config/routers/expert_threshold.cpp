#include "switchyard/config/routers/expert_threshold.h"

#include <algorithm>
#include <cmath>

#include "config/fields/fields.h"
#include "config/routers/target_k.h"
#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

using Options = ExpertThresholdOptions;

std::vector<Field> options() {
  return {
      target_k_field(SWITCHYARD_ROUTER_OPTION(Options, target_k)),
      {.key = "threshold_decay",
       .access = SWITCHYARD_ROUTER_OPTION(Options, threshold_decay),
       .default_text = "0.999",
       .range = {.minimum = 0, .maximum = 1, .maximum_open = true},
       .unit = "per step",
       .help = "decay of the running mean that an expert's threshold is; less in the first steps"},
      {.key = "threshold_warmup",
       .access = SWITCHYARD_ROUTER_OPTION(Options, threshold_warmup),
       .default_text = "100",
       .range = between(1, kMaxSteps),
       .unit = "steps",
       .help = "while the thresholds fill, a token gets its target_k (rounded) best experts"}};
}

void check(const RouterConfig& router, const RouterCheck& rules) {
  require_target(router.options.as<Options>().target_k, rules);
}

std::vector<std::string> state(const RouterConfig& /*router*/, bool /*causal*/) {
  return {"num_updates", "threshold"};
}

// A threshold is what so many experts per token made it.
std::string state_meaning(const RouterConfig& router) {
  return fmt::format("thresholds for {}", router.options.as<Options>().target_k);
}

RouterKeeps keeps(const RouterConfig& /*router*/) {
  return {.matrices = 1, .chosen = true};  // the sigmoids
}

RouterExpectation experts_per_token(const RouterConfig& router, std::int64_t num_experts) {
  const auto& options = router.options.as<Options>();
  const auto most = static_cast<double>(num_experts);
  const double expected = std::min(options.target_k, most);
  return {.expected = expected,
          .untrained = std::min(most, static_cast<double>(options.num_warmup_experts())),
          .worst = most,
          .reason = "target_k, which the thresholds stand for",
          .untrained_reason = "threshold_warmup: the target_k best experts, rounded"};
}

}  // namespace

const RouterDescriptor& expert_threshold_router() {
  static const RouterDescriptor descriptor{.name = std::string(Options::kType),
                                           .options = options(),
                                           .default_options = RouterOptions(Options{}),
                                           .losses = {.load_balance = "0"},
                                           .check = &check,
                                           .state = &state,
                                           .state_meaning = &state_meaning,
                                           .experts_per_token = &experts_per_token,
                                           .keeps = &keeps};
  return descriptor;
}

}  // namespace switchyard::config
