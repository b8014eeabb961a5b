#include "switchyard/config/router.h"

#include <fmt/format.h>

#include <algorithm>

#include "switchyard/core/error.h"

namespace switchyard::config {

const RouterDescriptor* find_router(std::string_view name) {
  const auto& all = router_descriptors();
  const auto found = std::find_if(
      all.begin(), all.end(), [name](const RouterDescriptor* row) { return row->name == name; });
  return found == all.end() ? nullptr : *found;
}

const RouterDescriptor& router_named(std::string_view name) {
  const RouterDescriptor* descriptor = find_router(name);
  SWITCHYARD_CHECK(descriptor != nullptr, "no router type '{}'", name);
  return *descriptor;
}

const RouterDescriptor& descriptor_of(const RouterConfig& config) {
  return router_named(config.type);
}

void RouterCheck::require_at_most_experts(std::int64_t value, std::string_view option) const {
  require(value <= num_experts, option, option,
          fmt::format("must be at most num_experts {}, got {}", num_experts, value));
}

}  // namespace switchyard::config
