// One process: every collective is the identity.
#pragma once

#include <memory>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

// Rank 0 of 1.
[[nodiscard]] std::unique_ptr<Communicator> make_self_communicator();

}  // namespace switchyard::comm
