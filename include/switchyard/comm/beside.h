// Collectives on a thread of their own, for ranks whose calls return when they are done.
#pragma once

#include <memory>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

// Passes everything on to `ranks`, which must outlive it and all groups split off from it; begin()
// returns at once. Before any other collective the caller waits for what was begun: so the ranks
// beneath are entered by one thread at a time, and in one order.
[[nodiscard]] std::unique_ptr<Communicator> beside(Communicator& ranks);

}  // namespace switchyard::comm
