// Ranks as threads of one process: for tests and for checking a layout without a cluster. The same
// bits whatever the order in which ranks arrive.
#pragma once

#include <cstdint>
#include <functional>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

// Calls fn on `num_ranks` (1 or more) threads, each with its own communicator, and returns when all
// have. A rank's communicators, those of split() included, belong to its thread.
//
// Nothing hangs on a mistake in fn: an exception in one rank, ranks that disagree about a
// collective, and collectives that can never be completed because every other rank waits elsewhere
// or has returned, make the collectives of all ranks throw InternalError, now and from then on.
// Then throws the error of the rank that failed first (of the lowest rank, where all failed in one
// collective), with the rank in its message: of its own type for a switchyard::Error, else
// InternalError.
void run_ranks(std::int64_t num_ranks, const std::function<void(Communicator&)>& fn);

}  // namespace switchyard::comm
