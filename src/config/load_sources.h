// What all ways to load a configuration end in.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "config/rules/validate.h"
#include "config/yaml/source.h"
#include "switchyard/config/load.h"

namespace switchyard::config {

inline constexpr const char* kReferenceHint = "`switchyard config reference` lists every key";

// Merges `sources`, lowest first, and the overrides on top, resolves and validates. `name` is of
// the file in messages about no line of it. Throws ConfigError with all problems, those before it
// included.
[[nodiscard]] Resolved load_sources(std::vector<Source> sources, const std::string& name,
                                    std::span<const std::string> overrides, Scope scope,
                                    Problems& problems);

}  // namespace switchyard::config
