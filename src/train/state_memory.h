// Does what training holds whatever the batch fit into the machine?
#pragma once

#include "switchyard/config/config.h"
#include "switchyard/core/host.h"

namespace switchyard::train {

// Weights, gradients and moments, which no change of the batch makes smaller: said before hours of
// swapping, or before the system ends the process. Throws OutOfMemoryError when memory and swap
// together are less; warns when they fit with swap only, because every step touches all of them.
// Nothing is said of a GPU's memory, nor where `host` does not tell.
void check_state_fits(const config::Config& config, const HostFacts& host);

}  // namespace switchyard::train
