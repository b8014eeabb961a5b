#include "comm/nccl_check.h"

#include "switchyard/core/error.h"
#include "switchyard/core/ranks.h"

namespace switchyard::comm {

void check_nccl(NcclResult result, NcclComm comm, const std::string& what) {
  if (result == NcclResult::success) return;
  const NcclLibrary& nccl = nccl_library();
  std::string message = fmt::format("{}: NCCL: {}", what, nccl.GetErrorString(result));
  const char* const more = nccl.GetLastError(comm);
  if (more != nullptr && *more != '\0') message += fmt::format(" ({})", more);
  // Of the words that NCCL said last, whatever about.
  const auto says = [&message](const char* words) {
    return message.find(words) != std::string::npos;
  };
  if (result == NcclResult::invalid_usage && says("Duplicate GPU")) {
    throw UsageError(message, kAGpuForEachRank);
  }
  if ((result == NcclResult::unhandled_cuda_error || result == NcclResult::system_error) &&
      says("out of memory")) {
    throw OutOfMemoryError(message,
                           "NCCL has buffers of its own on the GPU, beside what training and other "
                           "programs take: nvidia-smi shows who; a smaller train.micro_batch_size "
                           "leaves room");
  }
  if (result == NcclResult::invalid_argument || result == NcclResult::invalid_usage) {
    throw InternalError(message);
  }
  throw PeerError(message, "NCCL_DEBUG=INFO makes NCCL say more; look at the logs of all ranks");
}

}  // namespace switchyard::comm
