#include "support/simulated_device/nccl_ranks.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

namespace switchyard::comm {

bool NcclCommOfLibrary::meet() const {
  const std::uint32_t round = segment->round.load();
  if (segment->num_arrived.fetch_add(1) + 1 == static_cast<std::uint32_t>(num_ranks)) {
    segment->num_arrived.store(0);
    segment->round.fetch_add(1);
    return true;
  }
  const auto end = std::chrono::steady_clock::now() + simulated_nccl::patience();
  for (int tries = 0; segment->round.load() == round; ++tries) {
    if (segment->is_aborted.load() != 0 || std::chrono::steady_clock::now() > end) return false;
    if (tries > 200) std::this_thread::sleep_for(std::chrono::microseconds(30));
  }
  return true;
}

namespace simulated_nccl {
namespace {

thread_local std::string g_last_error;

NcclComm map(const std::string& name, int num_ranks, int rank) {
  const int file = ::shm_open(name.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0 || ::ftruncate(file, sizeof(Segment)) != 0) return nullptr;
  void* const memory =
      ::mmap(nullptr, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (memory == MAP_FAILED) return nullptr;
  return new NcclCommOfLibrary{
      .name = name,
      .segment = static_cast<Segment*>(memory),
      .rank = rank,
      .num_ranks = num_ranks,
      .device = c10::impl::VirtualGuardImpl(c10::kCUDA).getDevice().index()};
}

}  // namespace

std::chrono::milliseconds patience() {
  const char* const text = std::getenv("SWITCHYARD_SIMULATED_NCCL_PATIENCE_MS");
  return std::chrono::milliseconds(text == nullptr ? 120000 : std::atoll(text));
}

NcclResult refuse(NcclResult result, std::string why) {
  g_last_error = std::move(why);
  return result;
}

const char* last_error() {
  return g_last_error.c_str();
}

NcclResult open(const std::string& name, int num_ranks, int rank, NcclComm* result) {
  NcclComm comm = map(name, num_ranks, rank);
  if (comm == nullptr) return refuse(NcclResult::system_error, "no shared memory");
  const bool all_here = comm->meet();
  if (rank == 0) ::shm_unlink(name.c_str());
  if (!all_here) {
    close(comm);
    return refuse(NcclResult::remote_error, "not all ranks have come");
  }
  *result = comm;
  return NcclResult::success;
}

void close(NcclComm comm) {
  ::munmap(comm->segment, sizeof(Segment));
  delete comm;
}

NcclResult agree(NcclComm comm, const Call& call) {
  comm->call(comm->rank) = call;
  if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);
  bool same = true;
  for (int rank = 0; rank < comm->num_ranks; ++rank) {
    const Call& other = comm->call(rank);
    same = same && other.operation == call.operation && other.type == call.type &&
           other.root == call.root && other.count == call.count;
  }
  // Before a rank brings its next call.
  if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);
  if (!same) return refuse(NcclResult::invalid_usage, "ranks are in different collectives");
  return NcclResult::success;
}

NcclResult in_pieces(NcclComm comm, std::size_t count, std::size_t most, const Pass& write,
                     const Pass& read) {
  for (std::size_t first = 0; first < count; first += most) {
    const std::size_t piece = std::min(most, count - first);
    write(first, piece);
    if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);
    read(first, piece);
    if (!comm->meet()) return refuse(NcclResult::remote_error, kLost);
  }
  return NcclResult::success;
}

}  // namespace simulated_nccl
}  // namespace switchyard::comm
