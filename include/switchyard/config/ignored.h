// Settings that others have switched off.
#pragma once

#include <string>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

// A line for each setting that has another value than its default and that pretraining reads
// nowhere, because of what another one says: "schedule.final_ratio=0.2 does nothing:
// schedule.type is constant". An error it is not: files that others extend, and those of runs,
// rightly hold such settings.
[[nodiscard]] std::vector<std::string> ignored_settings(const Config& config);

}  // namespace switchyard::config
