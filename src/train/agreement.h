// Do all ranks train the same thing? Each reads the configuration and the data itself, on its own
// machine.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/train/build.h"

namespace switchyard::train {

// What has to be alike, by name.
using Facts = std::vector<std::pair<std::string, std::string>>;

// The program's version, and every setting but folders, which machines may call differently.
[[nodiscard]] Facts facts_of(const config::Config& config);
// What decides every sample, of training and of evaluations.
[[nodiscard]] Facts facts_of(const Build& parts);

// A collective. Throws UsageError, on every rank, that names the first fact that a rank has
// otherwise than rank 0.
void check_ranks_agree(comm::Communicator& world, const Facts& own);

}  // namespace switchyard::train
