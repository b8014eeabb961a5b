// The registry: every router type, and what all routers have in common. No static initialisers: a
// type exists because it is listed here.
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/routing/router.h"

// One line per type. `ROUTER(t)` is made by `make_t(config, build)`, defined in src/routing/t.cpp.
#define SWITCHYARD_ROUTERS(ROUTER) \
  ROUTER(attention_importance)     \
  ROUTER(top_k)                    \
  ROUTER(top_p)

namespace switchyard::routing {

#define SWITCHYARD_DECLARE_ROUTER(type) \
  std::unique_ptr<Router> make_##type(const config::RouterConfig&, const RouterBuild&);
SWITCHYARD_ROUTERS(SWITCHYARD_DECLARE_ROUTER)
#undef SWITCHYARD_DECLARE_ROUTER

namespace {

struct Entry {
  const char* type;
  std::unique_ptr<Router> (*make)(const config::RouterConfig&, const RouterBuild&);
};

#define SWITCHYARD_LIST_ROUTER(type) Entry{#type, &make_##type},
constexpr Entry kRouters[] = {SWITCHYARD_ROUTERS(SWITCHYARD_LIST_ROUTER)};
#undef SWITCHYARD_LIST_ROUTER

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

}  // namespace

std::vector<std::string> router_types() {
  std::vector<std::string> types;
  for (const Entry& entry : kRouters) {
    types.emplace_back(entry.type);
  }
  return types;
}

std::unique_ptr<Router> make_router(const config::RouterConfig& config, const RouterBuild& build) {
  for (const Entry& entry : kRouters) {
    if (config.type == entry.type) {
      return entry.make(config, build);
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
