// The toy router's descriptor, as src/config/routers/<name>.cpp is for others.
#include <fmt/format.h>

#include "architecture/added_router/toy.h"
#include "config/fields/fields.h"
#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

std::vector<Field> options() {
  return {{.key = "floor",
           .access = SWITCHYARD_ROUTER_OPTION(ToyOptions, floor),
           .default_text = "0.5",
           .range = above(0),
           .unit = "uniform probabilities",
           .help = "where the level of an expert that is taken starts"},
          {.key = "ceiling",
           .access = SWITCHYARD_ROUTER_OPTION(ToyOptions, ceiling),
           .default_text = "1",
           .range = above(0),
           .unit = "uniform probabilities",
           .help = "where that level goes"},
          // As top_p has it, to the letter.
          {.key = "max_experts",
           .access = SWITCHYARD_ROUTER_OPTION(ToyOptions, max_experts),
           .default_text = "none",
           .range = between(1, 65536),
           .unit = "experts per token",
           .help = "upper bound per token, against the many experts of early training"}};
}

void check(const RouterConfig& router, const RouterCheck& rules) {
  const auto& options = router.options.as<ToyOptions>();
  rules.require(options.floor <= options.ceiling, "floor", "ceiling",
                fmt::format("must be at most ceiling {}, got {}", options.ceiling, options.floor));
  if (options.max_experts) rules.require_at_most_experts(*options.max_experts, "max_experts");
}

RouterExpectation experts_per_token(const RouterConfig& router, std::int64_t num_experts) {
  const auto experts =
      static_cast<double>(router.options.as<ToyOptions>().max_experts.value_or(num_experts));
  return {.expected = experts / 2,
          .untrained = experts,
          .worst = experts,
          .reason = "half of the experts are above the level",
          .untrained_reason = "nearly all experts are above the floor"};
}

}  // namespace

const RouterDescriptor& toy_router();  // as the registry declares it
const RouterDescriptor& toy_router() {
  static const RouterDescriptor descriptor{
      .name = std::string(ToyOptions::kType),
      .options = options(),
      .default_options = RouterOptions(ToyOptions{}),
      .losses = {.dynamic = "1e-3"},
      .uses_noise = true,
      .check = &check,
      .state = [](const RouterConfig&, bool) { return std::vector<std::string>{"level"}; },
      .experts_per_token = &experts_per_token,
      .keeps = [](const RouterConfig&) { return RouterKeeps{.matrices = 1, .chosen = true}; },
      .to_need_less_memory =
          [](const RouterConfig&) { return std::string("a larger model.moe.router.floor"); }};
  return descriptor;
}

}  // namespace switchyard::config
