// Does what training holds whatever the batch fit into the machine?
#pragma once

#include "switchyard/config/config.h"
#include "switchyard/core/host.h"
#include "switchyard/core/ranks.h"

namespace switchyard::train {

// Weights, gradients and moments, which no change of the batch makes smaller: said before hours of
// swapping, or before the system ends the process. Of all ranks on this machine together. Throws
// OutOfMemoryError when memory and swap are less; warns when they fit with swap only, because every
// step touches all of them. Nothing is said of a GPU's memory, nor where `host` does not tell.
void check_state_fits(const config::Config& config, const HostFacts& host,
                      const RankEnvironment& ranks);

}  // namespace switchyard::train
