// Does what a model holds whatever the batch fit into the machine, or its GPU?
#pragma once

#include <cstdint>

#include "switchyard/config/config.h"
#include "switchyard/core/host.h"
#include "switchyard/core/ranks.h"

namespace switchyard::train {

// Weights, gradients and moments, which no change of the batch makes smaller: said before hours of
// swapping, or before the system ends the process. Of all ranks on this machine together. Throws
// OutOfMemoryError when memory and swap are less; warns when they fit with swap only, because every
// step touches all of them. Nothing is said where `host` does not tell.
void check_state_fits(const config::Config& config, const HostFacts& host,
                      const RankEnvironment& ranks);
// Those of one rank, on a GPU of so much memory.
void check_state_fits_gpu(const config::Config& config, const RankEnvironment& ranks,
                          std::uint64_t gpu_bytes);

// Weights alone, to compute with them in one process: as above.
void check_weights_fit(const config::Config& config, const HostFacts& host);
void check_weights_fit_gpu(const config::Config& config, std::uint64_t gpu_bytes);

}  // namespace switchyard::train
