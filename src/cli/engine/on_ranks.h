// A verb as one of several processes that were started together.
#pragma once

#include <functional>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"

namespace switchyard::cli {

// Runs `body` with what connects the ranks that mpirun, srun or `switchyard launch` started, or
// alone, and returns the exit code. What `body` throws and all ranks meet (PreemptedError,
// NonFiniteError) is reported by rank 0; after any other error this process ends all of them, with
// its exit code, once it has said what it was. Alone it is thrown on.
// Throws UsageError where the ranks cannot be connected.
int on_ranks(const config::Config& config, bool debug,
             const std::function<void(comm::Communicator& world)>& body);

}  // namespace switchyard::cli
