// What is used of NCCL 2, declared here: LibTorch brings the library without its header. The calls
// and numbers are NCCL's own (its user guide, "NCCL API"; tests/comm/nccl_header_test.cpp compares
// them with nccl.h where that is installed) and have not changed since 2.18, the first with
// ncclCommSplit.
#pragma once

#include <array>
#include <cstddef>

namespace switchyard::comm {

struct NcclUniqueId {  // ncclUniqueId
  std::array<char, 128> bytes{};
};
using NcclComm = struct NcclCommOfLibrary*;  // ncclComm_t
using CudaStream = void*;                    // cudaStream_t

enum class NcclResult : int {  // ncclResult_t
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7,
};
enum class NcclType : int {  // ncclDataType_t
  int8 = 0,
  uint8 = 1,
  int32 = 2,
  int64 = 4,
  float32 = 7,
  float64 = 8,
  bfloat16 = 9,
};
enum class NcclSum : int { sum = 0 };  // ncclRedOp_t

// Each member is the function of that name with "nccl" in front. Collectives are queued on the
// stream and return before they are done.
struct NcclLibrary {
  NcclResult (*GetUniqueId)(NcclUniqueId* id);
  NcclResult (*CommInitRank)(NcclComm* comm, int num_ranks, NcclUniqueId id, int rank);
  NcclResult (*CommSplit)(NcclComm comm, int color, int key, NcclComm* part, void* config);
  NcclResult (*CommDestroy)(NcclComm comm);
  NcclResult (*CommAbort)(NcclComm comm);
  NcclResult (*CommGetAsyncError)(NcclComm comm, NcclResult* error);
  const char* (*GetErrorString)(NcclResult result);
  const char* (*GetLastError)(NcclComm comm);
  NcclResult (*AllReduce)(const void* send, void* receive, std::size_t count, NcclType type,
                          NcclSum operation, NcclComm comm, CudaStream stream);
  NcclResult (*ReduceScatter)(const void* send, void* receive, std::size_t receive_count,
                              NcclType type, NcclSum operation, NcclComm comm, CudaStream stream);
  NcclResult (*AllGather)(const void* send, void* receive, std::size_t send_count, NcclType type,
                          NcclComm comm, CudaStream stream);
  NcclResult (*Broadcast)(const void* send, void* receive, std::size_t count, NcclType type,
                          int root, NcclComm comm, CudaStream stream);
  NcclResult (*Send)(const void* send, std::size_t count, NcclType type, int peer, NcclComm comm,
                     CudaStream stream);
  NcclResult (*Recv)(void* receive, std::size_t count, NcclType type, int peer, NcclComm comm,
                     CudaStream stream);
  NcclResult (*GroupStart)();
  NcclResult (*GroupEnd)();
};

// Loads it at the first call. Throws UsageError where there is none. Programs of the simulated
// device (tests/support) have another definition of this function.
[[nodiscard]] const NcclLibrary& nccl_library();

}  // namespace switchyard::comm
