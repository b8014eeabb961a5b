// Which of how many processes this one is, as the program that started them together says.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace switchyard {

// Where ranks that have nothing in common yet can find each other, as torchrun's variables say.
struct MeetingPlace {
  std::string host = {};  // of rank 0; empty: nobody named one and a port
  std::int64_t port = 0;
  bool is_served = false;     // by the one that started the ranks, not by rank 0
  int listening_socket = -1;  // which rank 0 inherits and serves at; -1: it opens one
  std::string attempt = "0";  // ranks that are started again meet under another name

  [[nodiscard]] bool is_named() const { return !host.empty(); }
};

struct RankEnvironment {
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::int64_t local_rank = 0;       // among those on this machine
  std::int64_t num_local_ranks = 1;  // on this machine
  std::string starter = {};  // "mpirun", "srun" or "torchrun"; empty: nobody speaks of ranks
  MeetingPlace meeting = {};
};

// The names of torchrun's variables, which `switchyard launch` sets too.
namespace rank_variables {
inline constexpr const char* kRank = "RANK";
inline constexpr const char* kNumRanks = "WORLD_SIZE";
inline constexpr const char* kLocalRank = "LOCAL_RANK";
inline constexpr const char* kNumLocalRanks = "LOCAL_WORLD_SIZE";
inline constexpr const char* kHost = "MASTER_ADDR";
inline constexpr const char* kPort = "MASTER_PORT";
inline constexpr const char* kListeningSocket = "SWITCHYARD_LISTENING_SOCKET";  // ours alone
}  // namespace rank_variables

// The hint for ranks that would share one.
inline constexpr const char* kAGpuForEachRank =
    "every rank needs a GPU of its own: start fewer ranks on a machine (--nproc, --nproc-per-node, "
    "--ntasks-per-node), or look at CUDA_VISIBLE_DEVICES";

// The value of a variable, or nullptr.
using Environment = std::function<const char*(const char* name)>;

// From what Open MPI, MPICH, srun and torchrun set. torchrun counts before srun, which may have
// started one torchrun on each machine. Throws UsageError for a value that is no number, a rank
// or a port that is none, and where mpirun and torchrun say different things.
[[nodiscard]] RankEnvironment read_rank_environment(const Environment& variable);
[[nodiscard]] RankEnvironment read_rank_environment();  // of this process

}  // namespace switchyard
