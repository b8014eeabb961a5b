#include "switchyard/config/routers/top_k.h"

#include "config/fields/fields.h"
#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

void check(const RouterConfig& router, const RouterCheck& rules) {
  const auto& options = router.options.as<TopKOptions>();
  rules.require_at_most_experts(options.k, "k");
  rules.require(options.k != 1 || !router.renormalize, "renormalize", "k",
                "with k: 1 every weight would be 1 and the router would get no gradient; set it to "
                "false");
}

RouterExpectation experts_per_token(const RouterConfig& router, std::int64_t /*num_experts*/) {
  const auto k = static_cast<double>(router.options.as<TopKOptions>().k);
  return {.expected = k, .untrained = k, .worst = k, .reason = "top_k gives every token k"};
}

std::vector<std::string> state(const RouterConfig& router, bool /*causal*/) {
  if (router.options.as<TopKOptions>().bias_rate > 0.0) return {"bias"};
  return {};
}

}  // namespace

const RouterDescriptor& top_k_router() {
  static const RouterDescriptor descriptor{
      .name = std::string(TopKOptions::kType),
      .options = {{.key = "k",
                   .access = SWITCHYARD_ROUTER_OPTION(TopKOptions, k),
                   .default_text = "2",
                   .range = between(1, 65536),
                   .unit = "experts per token",
                   .help = "experts of every token; at most num_experts"},
                  {.key = "bias_rate",
                   .access = SWITCHYARD_ROUTER_OPTION(TopKOptions, bias_rate),
                   .default_text = "0",
                   .range = between(0, 1),
                   .unit = "probability per step",
                   .help = "balance the load by a bias of each expert that only the choice sees, "
                           "moved so far toward an even load every step; 1e-3 is usual, 0 = none"}},
      .default_options = RouterOptions(TopKOptions{}),
      .renormalize = true,
      .check = &check,
      .state = &state,
      .experts_per_token = &experts_per_token};
  return descriptor;
}

}  // namespace switchyard::config
