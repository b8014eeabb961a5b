// What NCCL on simulated devices shares between ranks that are threads or processes of one machine.
#pragma once

#include <c10/core/Device.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "comm/nccl_library.h"

namespace switchyard::comm::simulated_nccl {

inline constexpr int kMostRanks = 8;
inline constexpr std::size_t kSlotBytes = std::size_t{1} << 18;
inline constexpr std::size_t kMailBytes = std::size_t{1} << 14;

enum class Operation : std::uint32_t { none, sum, reduce_scatter, gather, broadcast, split };

// What a rank brings to a collective; all but the color is the same on all of them.
struct Call {
  Operation operation = Operation::none;
  int type = 0;
  int root = 0;
  int color = 0;
  std::size_t count = 0;
};

// On the way from one rank to another.
struct Mail {
  std::atomic<std::uint32_t> is_there;
  std::size_t total;
  std::byte piece[kMailBytes];
};

// In shared memory, which begins as zeros.
struct Segment {
  std::atomic<std::uint32_t> num_arrived;
  std::atomic<std::uint32_t> round;
  std::atomic<std::uint32_t> is_aborted;
  Call calls[kMostRanks];
  std::byte slots[kMostRanks][kSlotBytes];
  Mail mail[kMostRanks][kMostRanks];  // by sender, by receiver
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// How long a rank waits for others: SWITCHYARD_SIMULATED_NCCL_PATIENCE_MS, or two minutes.
[[nodiscard]] std::chrono::milliseconds patience();

// Notes why, for ncclGetLastError.
NcclResult refuse(NcclResult result, std::string why);
[[nodiscard]] const char* last_error();
inline constexpr const char* kLost = "a rank was lost";

// Waits until all ranks have opened the memory of that name.
NcclResult open(const std::string& name, int num_ranks, int rank, NcclComm* result);
void close(NcclComm comm);

// All ranks bring the same call, or none goes on.
NcclResult agree(NcclComm comm, const Call& call);

// Goes through `count` units in pieces of at most `most`: every rank fills its slot, then reads
// those of all.
using Pass = std::function<void(std::size_t first, std::size_t count)>;
NcclResult in_pieces(NcclComm comm, std::size_t count, std::size_t most, const Pass& write,
                     const Pass& read);

}  // namespace switchyard::comm::simulated_nccl

namespace switchyard::comm {

struct NcclCommOfLibrary {
  std::string name;
  simulated_nccl::Segment* segment = nullptr;
  int rank = 0;
  int num_ranks = 1;
  int num_splits = 0;
  c10::DeviceIndex device = 0;

  [[nodiscard]] simulated_nccl::Call& call(int of) const { return segment->calls[of]; }
  [[nodiscard]] std::byte* slot(int of) const { return segment->slots[of]; }
  // All ranks have come here, or false.
  [[nodiscard]] bool meet() const;
};

}  // namespace switchyard::comm
