// A resolved config as a flat list.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

// Dotted key and value (as written in YAML) of every field that to_yaml() writes, in its order.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> fields_of(const Config& config);

}  // namespace switchyard::config
