// What NCCL answers, as our errors.
#pragma once

#include <string>

#include "comm/nccl_library.h"

namespace switchyard::comm {

// Does nothing for success. `what` was done with `comm`, which may be null, where NCCL says no more
// than the kind. Throws UsageError for ranks that share a GPU, OutOfMemoryError for memory that
// NCCL lacks, InternalError for a call that is wrong, and PeerError for the rest.
void check_nccl(NcclResult result, NcclComm comm, const std::string& what);

}  // namespace switchyard::comm
