#include "switchyard/config/router_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

const RouterDescriptor& known_router(std::string_view name) {
  const RouterDescriptor* descriptor = find_router(name);
  SWITCHYARD_CHECK(descriptor != nullptr, "no router type '{}'", name);
  return *descriptor;
}

}  // namespace

RouterConfig::RouterConfig() : RouterConfig(find_field(kRouterTypeKey)->default_text) {}

RouterConfig::RouterConfig(std::string_view type_name)
    : type(type_name),
      renormalize(known_router(type_name).renormalize.value_or(false)),
      options(known_router(type_name).default_options) {}

const RouterDescriptor* find_router(std::string_view name) {
  const auto& all = router_descriptors();
  const auto found = std::find_if(
      all.begin(), all.end(), [name](const RouterDescriptor* row) { return row->name == name; });
  return found == all.end() ? nullptr : *found;
}

const RouterDescriptor& descriptor_of(const RouterConfig& config) {
  return known_router(config.type);
}

void RouterCheck::require_at_most_experts(std::int64_t value, std::string_view option) const {
  require(value <= num_experts, option, option,
          fmt::format("must be at most num_experts {}, got {}", num_experts, value));
}

}  // namespace switchyard::config
