// Checkpoints that ranks share out to read: what is verified before a run goes on may be larger
// than one of them reads in the time that the others wait.
#pragma once

#include <functional>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/communicator.h"

namespace switchyard::train {

// Runs `look` on rank 0, which gives what it is given to whoever opens a checkpoint: all ranks then
// read a part of its files. A file is damaged when a rank says so and rank 0 finds it too. Where
// ranks see other files, no checkpoint is taken for a damaged one: a StorageError that names the
// rank, on rank 0 at least. A collective; what else `look` throws it throws on rank 0.
void look_at_checkpoints(comm::Communicator& world,
                         const std::function<void(const checkpoint::ReadContents& read)>& look);

}  // namespace switchyard::train
