// Making a router by its type, and what all routers have in common.
#include "switchyard/routing/router.h"

#include <ATen/ops/isfinite.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "routing/registry.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::routing {
namespace {

std::vector<std::string> names_of(const std::map<std::string, at::Tensor>& state) {
  std::vector<std::string> names;
  for (const auto& [name, value] : state) {
    names.push_back(name);
  }
  return names;
}

std::string list_or_none(const std::vector<std::string>& names) {
  return names.empty() ? "none" : join(names, ", ");
}

// What plans and the noise key rely on is what the descriptor says.
void check_described(const Router& router, const config::RouterConfig& config, bool causal) {
  const config::RouterDescriptor& descriptor = config::descriptor_of(config);
  const std::vector<std::string> described =
      descriptor.state == nullptr ? std::vector<std::string>() : descriptor.state(config, causal);
  const std::vector<std::string> names = names_of(router.state());
  SWITCHYARD_CHECK(names == described, "router {} has the state {}, its descriptor says {}",
                   config.type, list_or_none(names), list_or_none(described));
}

}  // namespace

std::vector<std::string> router_types() {
  std::vector<std::string> types;
  for (const RouterFactory& factory : router_factories()) {
    types.emplace_back(factory.type);
  }
  return types;
}

std::unique_ptr<Router> make_router(const config::RouterConfig& config, const RouterBuild& build) {
  for (const RouterFactory& factory : router_factories()) {
    if (config.type == factory.type) {
      std::unique_ptr<Router> router = factory.make(config, build);
      check_described(*router, config, build.causal);
      return router;
    }
  }
  const std::vector<std::string> types = router_types();
  const std::string nearest = nearest_name(config.type, types);
  throw UsageError(
      fmt::format("model.moe.router.type: unknown router '{}'{}; known: {}", config.type,
                  nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest),
                  join(types, ", ")),
      "set model.moe.router.type to one of the known types");
}

void Router::check_state(const std::map<std::string, at::Tensor>& given) {
  const std::map<std::string, at::Tensor> expected = state();
  const std::string& router = weight().name;
  const std::vector<std::string> expected_names = names_of(expected);
  const std::vector<std::string> given_names = names_of(given);
  if (given_names != expected_names) {
    throw DataError(fmt::format("state of router '{}': found {}, expected {}", router,
                                list_or_none(given_names), list_or_none(expected_names)),
                    "the checkpoint was written with another router type or other router options");
  }
  for (const auto& [name, reference] : expected) {
    const at::Tensor& value = given.at(name);
    if (!value.defined() || value.scalar_type() != at::kFloat ||
        value.sizes() != reference.sizes()) {
      throw DataError(
          fmt::format("state '{}' of router '{}' must be fp32 with {} dims and {} "
                      "elements",
                      name, router, reference.dim(), reference.numel()));
    }
    if (!at::isfinite(value).all().item<bool>()) {
      throw DataError(fmt::format("state '{}' of router '{}' is not finite", name, router));
    }
  }
}

void Router::load_state(const std::map<std::string, at::Tensor>& state) {
  check_state(state);
}

}  // namespace switchyard::routing
