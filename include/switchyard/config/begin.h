// What `switchyard pretrain` was asked for.
#pragma once

#include "switchyard/config/load.h"
#include "switchyard/config/options.h"

namespace switchyard::config {

// The file and the command line, where --from stands for run.from: an absolute path, so that the
// run finds it from everywhere. Throws as load() does.
[[nodiscard]] Resolved load_for_pretrain(const ParsedArguments& arguments);

}  // namespace switchyard::config
