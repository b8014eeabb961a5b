// Ranks as processes (or threads) with a GPU each, over NCCL.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

struct NcclOptions {
  // Made by one rank with new_nccl_id() and told to all (comm/meeting.h, comm/text.h).
  std::string id;
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  c10::Device device{c10::kCUDA, 0};  // of this rank, of no other
  // As MpiOptions::check_agreement; each round is a wait for the device.
  bool check_agreement = false;
};

// Before NCCL starts: what its environment has to say, unless the user's says something else. What
// adds up and gathers connects at the start, while there is memory; with `deterministic` sums do
// not depend on the moment.
void choose_nccl_settings(bool deterministic);

// 128 bytes that name the ranks who will join with them. Throws UsageError without NCCL.
[[nodiscard]] std::string new_nccl_id();

// Waits for all ranks. Collectives on tensors of the device are queued on torch's current stream,
// in the order of what was queued there: nobody waits. Tensors in host memory go through the device
// and the host waits for them. Sums are added in NCCL's order, which is the same on all ranks.
// Throws UsageError without NCCL or where ranks share a GPU, OutOfMemoryError where NCCL lacks
// memory, PeerError when ranks cannot be connected or one is lost, InternalError for a tensor of
// another device.
[[nodiscard]] std::unique_ptr<Communicator> join_nccl(const NcclOptions& options);

// What NCCL has found wrong with these ranks or a group split off, such as a peer that is gone;
// empty: nothing, or they are not NCCL's. May be asked from any thread.
[[nodiscard]] std::string nccl_error(const Communicator& ranks);

}  // namespace switchyard::comm
