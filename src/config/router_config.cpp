#include "switchyard/config/router_config.h"

#include "switchyard/config/router.h"

namespace switchyard::config {

RouterConfig::RouterConfig() : RouterConfig(find_field(kRouterTypeKey)->default_text) {}

RouterConfig::RouterConfig(std::string_view type_name)
    : type(type_name),
      renormalize(router_named(type_name).renormalize.value_or(false)),
      options(router_named(type_name).default_options) {}

}  // namespace switchyard::config
