// How ranks that were started together, and are not connected yet, tell each other a first text.
#pragma once

#include <chrono>
#include <string>

#include "switchyard/core/ranks.h"

namespace switchyard::comm {

// Returns rank 0's `own` on all ranks, once all have it. Ranks meet at ranks.meeting, which is a
// c10d::TCPStore that rank 0 serves, or whoever started the ranks. Throws PeerError when the place
// cannot be reached or served, or not all ranks come within the time.
[[nodiscard]] std::string meet(const RankEnvironment& ranks, const std::string& own,
                               std::chrono::seconds patience);

}  // namespace switchyard::comm
