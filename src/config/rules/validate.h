// Rules across fields, and fields that must be set.
#pragma once

#include <string>

#include "config/merge.h"
#include "switchyard/config/config.h"

namespace switchyard::config {

enum class Scope { kRun, kModelOnly };

// Adds every broken rule to `problems`, at the position of a value that takes part in it (`name`
// stands for the file where there is none). A rule about a value that is wrong by itself is left
// out.
void validate(const Config& config, const Merged& merged, Scope scope, const std::string& name,
              Problems& problems);

}  // namespace switchyard::config
