// The list of routers. No static initialisers: a type exists because it is listed here. Nothing
// else is defined here.
#include "routing/registry.h"

// One line per type. `ROUTER(t)` is made by `make_t(config, build)`, defined in src/routing/t.cpp.
#define SWITCHYARD_ROUTERS(ROUTER) \
  ROUTER(attention_importance)     \
  ROUTER(expert_threshold)         \
  ROUTER(relu)                     \
  ROUTER(top_k)                    \
  ROUTER(top_p)

namespace switchyard::routing {

#define SWITCHYARD_DECLARE_ROUTER(type) \
  std::unique_ptr<Router> make_##type(const config::RouterConfig&, const RouterBuild&);
SWITCHYARD_ROUTERS(SWITCHYARD_DECLARE_ROUTER)

#define SWITCHYARD_LIST_ROUTER(type) RouterFactory{#type, &make_##type},
const std::vector<RouterFactory>& router_factories() {
  static const std::vector<RouterFactory> all{SWITCHYARD_ROUTERS(SWITCHYARD_LIST_ROUTER)};
  return all;
}

}  // namespace switchyard::routing
