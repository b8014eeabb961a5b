// How routers are made, by type.
#pragma once

#include <memory>
#include <vector>

#include "switchyard/routing/router.h"

namespace switchyard::routing {

struct RouterFactory {
  const char* type;
  // The config is one of this type. Throws UsageError naming the key of an option it refuses.
  std::unique_ptr<Router> (*make)(const config::RouterConfig& config, const RouterBuild& build);
};

// All of them, by name; each type has a descriptor in config (config/router.h).
[[nodiscard]] const std::vector<RouterFactory>& router_factories();

}  // namespace switchyard::routing
