// The list of routers that configs may name; how they route is listed in src/routing/registry.cpp.
// Nothing else is defined here.
#include "switchyard/config/router.h"

// One line per router, in the order of the documentation. `ROUTER(t)` is described by `t_router()`,
// defined in src/config/routers/t.cpp.
#define SWITCHYARD_ROUTERS(ROUTER) \
  ROUTER(top_k)                    \
  ROUTER(top_p)                    \
  ROUTER(attention_importance)     \
  ROUTER(relu)                     \
  ROUTER(expert_threshold)

namespace switchyard::config {

#define SWITCHYARD_DECLARE_ROUTER(type) const RouterDescriptor& type##_router();
SWITCHYARD_ROUTERS(SWITCHYARD_DECLARE_ROUTER)

#define SWITCHYARD_LIST_ROUTER(type) &type##_router(),
const std::vector<const RouterDescriptor*>& router_descriptors() {
  static const std::vector<const RouterDescriptor*> all{SWITCHYARD_ROUTERS(SWITCHYARD_LIST_ROUTER)};
  return all;
}

}  // namespace switchyard::config
