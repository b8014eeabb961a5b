// In place of mpi.cpp where the build found no MPI.
#include <cstdlib>

#include "switchyard/comm/mpi.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {

bool built_with_mpi() {
  return false;
}

std::unique_ptr<Communicator> join_mpi(const MpiOptions& /*options*/) {
  throw UsageError("this build has no MPI",
                   "install libopenmpi-dev (tools/setup.sh --mpi) and build again");
}

void end_all_mpi_ranks(int exit_code) {
  std::_Exit(exit_code);
}

}  // namespace switchyard::comm
