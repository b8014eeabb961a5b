// Ranks as processes that mpirun or srun started together; tensors in host memory.
#pragma once

#include <chrono>
#include <memory>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

struct MpiOptions {
  // A message that is under way for longer throws PeerError, naming its collective.
  std::chrono::seconds timeout{1800};
  // Before each collective ranks tell each other which one they are in, so that a disagreement is
  // an InternalError on all of them rather than a hang or wrong numbers. Costs a round each.
  bool check_agreement = false;
};

[[nodiscard]] bool built_with_mpi();

// All ranks that were started together. Once in a process; MPI ends with the last communicator that
// comes from this one. Sums are added in ascending rank, so every rank has the same bits, run by
// run. Throws UsageError in a build without MPI, PeerError when MPI does not start.
[[nodiscard]] std::unique_ptr<Communicator> join_mpi(const MpiOptions& options = {});

// Ends all ranks that were started together, this one with that exit code, whatever they wait for.
[[noreturn]] void end_all_mpi_ranks(int exit_code);

}  // namespace switchyard::comm
