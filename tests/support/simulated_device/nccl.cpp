// NCCL for simulated devices: the same calls, on ranks that are threads or processes of one
// machine, through shared memory. Stricter than NCCL: ranks that are in different collectives, or a
// rank that expects other rows than are sent, get an error where NCCL would hang or mix them up. A
// collective is done when its call returns.
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "comm/nccl_library.h"
#include "support/simulated_device/memory.h"
#include "support/simulated_device/nccl_ranks.h"

namespace switchyard::comm {

namespace {

using simulated_device::host_view;
using simulated_device::is_device_memory;

using namespace simulated_nccl;

at::ScalarType scalar_type(NcclType type) {
  switch (type) {
    case NcclType::int8:
      return at::kChar;
    case NcclType::uint8:
      return at::kByte;
    case NcclType::int32:
      return at::kInt;
    case NcclType::int64:
      return at::kLong;
    case NcclType::float32:
      return at::kFloat;
    case NcclType::float64:
      return at::kDouble;
    case NcclType::bfloat16:
      return at::kBFloat16;
  }
  return at::ScalarType::Undefined;
}

// What NCCL asks of a caller: device memory, and the communicator's device as the thread's current.
NcclResult check(NcclComm comm, const void* send, const void* receive) {
  const c10::impl::VirtualGuardImpl devices(c10::kCUDA);
  if (devices.getDevice().index() != comm->device) {
    return refuse(NcclResult::invalid_usage, "another device is current than the communicator's");
  }
  for (const void* each : {send, receive}) {
    if (each != nullptr && !is_device_memory(each)) {
      return refuse(NcclResult::invalid_argument, "a buffer is not in device memory");
    }
  }
  return NcclResult::success;
}

// Sums in ascending rank of this rank's part, [first, first + count) of the slots.
void add_up(NcclComm comm, NcclType type, std::size_t first, std::size_t count, std::byte* to) {
  const at::ScalarType dtype = scalar_type(type);
  const std::size_t size = c10::elementSize(dtype);
  const auto part = [&](int rank) {
    return at::from_blob(comm->slot(rank) + first * size, {static_cast<std::int64_t>(count)},
                         at::TensorOptions().dtype(dtype));
  };
  const at::Tensor sum = part(0).clone();
  for (int rank = 1; rank < comm->num_ranks; ++rank) sum.add_(part(rank));
  std::memcpy(to, sum.const_data_ptr(), count * size);
}

NcclResult all_reduce(const void* send, void* receive, std::size_t count, NcclType type,
                      NcclSum /*operation*/, NcclComm comm, CudaStream /*stream*/) {
  if (const NcclResult bad = check(comm, send, receive); bad != NcclResult::success) return bad;
  const Call call{.operation = Operation::sum, .type = static_cast<int>(type), .count = count};
  if (const NcclResult bad = agree(comm, call); bad != NcclResult::success) return bad;
  const std::size_t size = c10::elementSize(scalar_type(type));
  const auto* const from = static_cast<const std::byte*>(host_view(send));
  auto* const to = static_cast<std::byte*>(host_view(receive));
  return in_pieces(
      comm, count, kSlotBytes / size,
      [&](std::size_t first, std::size_t piece) {
        std::memcpy(comm->slot(comm->rank), from + first * size, piece * size);
      },
      [&](std::size_t first, std::size_t piece) {
        add_up(comm, type, 0, piece, to + first * size);
      });
}

NcclResult reduce_scatter(const void* send, void* receive, std::size_t count, NcclType type,
                          NcclSum /*operation*/, NcclComm comm, CudaStream /*stream*/) {
  if (const NcclResult bad = check(comm, send, receive); bad != NcclResult::success) return bad;
  const Call call{
      .operation = Operation::reduce_scatter, .type = static_cast<int>(type), .count = count};
  if (const NcclResult bad = agree(comm, call); bad != NcclResult::success) return bad;
  const std::size_t size = c10::elementSize(scalar_type(type));
  const auto num_ranks = static_cast<std::size_t>(comm->num_ranks);
  const auto* const from = static_cast<const std::byte*>(host_view(send));
  auto* const to = static_cast<std::byte*>(host_view(receive));
  return in_pieces(
      comm, count, kSlotBytes / size / num_ranks,
      [&](std::size_t first, std::size_t piece) {
        for (std::size_t rank = 0; rank < num_ranks; ++rank) {
          std::memcpy(comm->slot(comm->rank) + rank * piece * size,
                      from + (rank * count + first) * size, piece * size);
        }
      },
      [&](std::size_t first, std::size_t piece) {
        add_up(comm, type, static_cast<std::size_t>(comm->rank) * piece, piece, to + first * size);
      });
}

NcclResult all_gather(const void* send, void* receive, std::size_t count, NcclType type,
                      NcclComm comm, CudaStream /*stream*/) {
  if (const NcclResult bad = check(comm, send, receive); bad != NcclResult::success) return bad;
  const Call call{.operation = Operation::gather, .type = static_cast<int>(type), .count = count};
  if (const NcclResult bad = agree(comm, call); bad != NcclResult::success) return bad;
  const std::size_t bytes = count * c10::elementSize(scalar_type(type));
  const auto* const from = static_cast<const std::byte*>(host_view(send));
  auto* const to = static_cast<std::byte*>(host_view(receive));
  return in_pieces(
      comm, bytes, kSlotBytes,
      [&](std::size_t first, std::size_t piece) {
        std::memcpy(comm->slot(comm->rank), from + first, piece);
      },
      [&](std::size_t first, std::size_t piece) {
        for (int rank = 0; rank < comm->num_ranks; ++rank) {
          std::memcpy(to + static_cast<std::size_t>(rank) * bytes + first, comm->slot(rank), piece);
        }
      });
}

NcclResult broadcast(const void* send, void* receive, std::size_t count, NcclType type, int root,
                     NcclComm comm, CudaStream /*stream*/) {
  if (const NcclResult bad = check(comm, send, receive); bad != NcclResult::success) return bad;
  const Call call{.operation = Operation::broadcast,
                  .type = static_cast<int>(type),
                  .root = root,
                  .count = count};
  if (const NcclResult bad = agree(comm, call); bad != NcclResult::success) return bad;
  const auto* const from = static_cast<const std::byte*>(host_view(send));
  auto* const to = static_cast<std::byte*>(host_view(receive));
  return in_pieces(
      comm, count * c10::elementSize(scalar_type(type)), kSlotBytes,
      [&](std::size_t first, std::size_t piece) {
        if (comm->rank == root) std::memcpy(comm->slot(root), from + first, piece);
      },
      [&](std::size_t first, std::size_t piece) {
        std::memcpy(to + first, comm->slot(root), piece);
      });
}

// ---- Sends and receives, which start when the outermost group ends.

struct Part {
  NcclComm comm = nullptr;
  int peer = 0;
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::size_t bytes = 0;
  std::size_t num_done = 0;

  [[nodiscard]] bool is_done() const { return num_done == bytes; }
  [[nodiscard]] bool goes_the_way_of(const Part& other) const {
    return comm == other.comm && peer == other.peer && (to == nullptr) == (other.to == nullptr);
  }
};
thread_local int group_depth = 0;
thread_local std::vector<Part> parts;

// The next piece, where the other side is so far.
NcclResult move(Part& part) {
  const NcclComm comm = part.comm;
  Mail& mail = part.from != nullptr ? comm->segment->mail[comm->rank][part.peer]
                                    : comm->segment->mail[part.peer][comm->rank];
  const bool wants_mail = part.to != nullptr;
  if ((mail.is_there.load() != 0) != wants_mail) return NcclResult::in_progress;
  const std::size_t piece = std::min(kMailBytes, part.bytes - part.num_done);
  if (wants_mail) {
    if (mail.total != part.bytes) {
      return refuse(NcclResult::invalid_usage, "a rank expects other rows than are sent");
    }
    std::memcpy(part.to + part.num_done, mail.piece, piece);
  } else {
    mail.total = part.bytes;
    std::memcpy(mail.piece, part.from + part.num_done, piece);
  }
  mail.is_there.store(wants_mail ? 0 : 1);
  part.num_done += piece;
  return NcclResult::success;
}

// Messages between two ranks arrive in the order in which they are sent.
bool is_next(std::size_t idx) {
  const Part& part = parts[idx];
  return std::none_of(
      parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(idx),
      [&](const Part& earlier) { return !earlier.is_done() && earlier.goes_the_way_of(part); });
}

// Only ranks that send to each other wait for each other.
NcclResult exchange() {
  const auto end = std::chrono::steady_clock::now() + patience();
  bool all_done = false;
  for (int tries = 0; !all_done; ++tries) {
    all_done = true;
    for (std::size_t idx = 0; idx < parts.size(); ++idx) {
      Part& part = parts[idx];
      if (part.is_done()) continue;
      all_done = false;
      if (!is_next(idx)) continue;
      const NcclResult result = move(part);
      if (result == NcclResult::success) tries = 0;
      if (result == NcclResult::invalid_usage) return result;
      if (part.comm->segment->is_aborted.load() != 0) {
        return refuse(NcclResult::remote_error, kLost);
      }
    }
    if (std::chrono::steady_clock::now() > end) return refuse(NcclResult::remote_error, kLost);
    if (tries > 200) std::this_thread::sleep_for(std::chrono::microseconds(30));
  }
  return NcclResult::success;
}

NcclResult group_start() {
  ++group_depth;
  return NcclResult::success;
}

NcclResult group_end() {
  if (--group_depth > 0) return NcclResult::success;
  const NcclResult result = exchange();
  parts.clear();
  return result;
}

NcclResult note(const Part& part) {
  if (group_depth == 0) return refuse(NcclResult::invalid_usage, "only groups are simulated");
  parts.push_back(part);
  return NcclResult::success;
}

NcclResult send(const void* from, std::size_t count, NcclType type, int peer, NcclComm comm,
                CudaStream /*stream*/) {
  if (const NcclResult bad = check(comm, from, nullptr); bad != NcclResult::success) return bad;
  return note({.comm = comm,
               .peer = peer,
               .from = static_cast<const std::byte*>(host_view(from)),
               .bytes = count * c10::elementSize(scalar_type(type))});
}

NcclResult receive(void* to, std::size_t count, NcclType type, int peer, NcclComm comm,
                   CudaStream /*stream*/) {
  if (const NcclResult bad = check(comm, to, nullptr); bad != NcclResult::success) return bad;
  return note({.comm = comm,
               .peer = peer,
               .to = static_cast<std::byte*>(host_view(to)),
               .bytes = count * c10::elementSize(scalar_type(type))});
}

// ---- Beginning and end

NcclResult get_unique_id(NcclUniqueId* id) {
  std::random_device random;
  const std::string name = "/switchyard-nccl-" + std::to_string(::getpid()) + "-" +
                           std::to_string(random()) + std::to_string(random());
  *id = {};
  std::copy(name.begin(), name.end(), id->bytes.begin());
  return NcclResult::success;
}

// No two ranks may have the same one.
NcclResult check_devices(NcclComm comm) {
  comm->call(comm->rank) = {.color = comm->device};
  if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);
  int same = comm->rank;
  for (int rank = 0; rank < comm->num_ranks; ++rank) {
    if (rank != comm->rank && comm->call(rank).color == comm->device) same = rank;
  }
  if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);  // all have looked
  if (same == comm->rank) return NcclResult::success;
  return refuse(NcclResult::invalid_usage,
                "Duplicate GPU detected : rank " + std::to_string(comm->rank) + " and rank " +
                    std::to_string(same) + " both on CUDA device " + std::to_string(comm->device));
}

NcclResult init_rank(NcclComm* comm, int num_ranks, NcclUniqueId id, int rank) {
  if (num_ranks > kMostRanks || rank < 0 || rank >= num_ranks) {
    return refuse(NcclResult::invalid_argument, "a rank that is none");
  }
  if (const char* const error = std::getenv("SWITCHYARD_SIMULATED_NCCL_ERROR")) {
    return refuse(NcclResult::unhandled_cuda_error, error);
  }
  const NcclResult opened = open(id.bytes.data(), num_ranks, rank, comm);
  return opened == NcclResult::success ? check_devices(*comm) : opened;
}

NcclResult split(NcclComm comm, int color, int key, NcclComm* part, void* /*config*/) {
  if (const NcclResult bad = check(comm, nullptr, nullptr); bad != NcclResult::success) return bad;
  if (key != comm->rank) return refuse(NcclResult::invalid_usage, "ranks are to keep their order");
  const Call call{.operation = Operation::split, .color = color};
  if (const NcclResult bad = agree(comm, call); bad != NcclResult::success) return bad;
  int rank = 0;
  int num_ranks = 0;
  for (int other = 0; other < comm->num_ranks; ++other) {
    if (comm->call(other).color != color) continue;
    if (other < comm->rank) ++rank;
    ++num_ranks;
  }
  if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);  // all have looked
  const std::string name =
      comm->name + "." + std::to_string(comm->num_splits++) + "." + std::to_string(color);
  return open(name, num_ranks, rank, part);
}

// Waits for the others, as NCCL does.
NcclResult destroy(NcclComm comm) {
  const bool all_here = comm->meet();
  close(comm);
  return all_here ? NcclResult::success : refuse(NcclResult::remote_error, kLost);
}

NcclResult abort(NcclComm comm) {
  comm->segment->is_aborted.store(1);
  close(comm);
  return NcclResult::success;
}

const char* error_string(NcclResult result) {
  switch (result) {
    case NcclResult::success:
      return "no error";
    case NcclResult::system_error:
      return "system error";
    case NcclResult::invalid_argument:
      return "invalid argument";
    case NcclResult::invalid_usage:
      return "invalid usage";
    case NcclResult::remote_error:
      return "remote error";
    default:
      return "error";
  }
}

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary library{
      .GetUniqueId = &get_unique_id,
      .CommInitRank = &init_rank,
      .CommSplit = &split,
      .CommDestroy = &destroy,
      .CommAbort = &abort,
      .CommGetAsyncError =
          [](NcclComm comm, NcclResult* error) {
            *error = comm->segment->is_aborted.load() != 0 ? NcclResult::remote_error
                                                           : NcclResult::success;
            return NcclResult::success;
          },
      .GetErrorString = &error_string,
      .GetLastError = [](NcclComm /*comm*/) { return last_error(); },
      .AllReduce = &all_reduce,
      .ReduceScatter = &reduce_scatter,
      .AllGather = &all_gather,
      .Broadcast = &broadcast,
      .Send = &send,
      .Recv = &receive,
      .GroupStart = &group_start,
      .GroupEnd = &group_end,
  };
  return library;
}

}  // namespace switchyard::comm
