// Which of how many processes this one is, as the program that started them together says.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace switchyard {

struct RankEnvironment {
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::int64_t num_local_ranks = 1;  // on this machine
  std::string starter = {};  // "mpirun", "srun" or "torchrun"; empty: nobody speaks of ranks
};

// The value of a variable, or nullptr.
using Environment = std::function<const char*(const char* name)>;

// From what Open MPI, MPICH, srun and torchrun set. torchrun counts before srun, which may have
// started one torchrun on each machine. Throws UsageError for a value that is no number, a rank
// that is none, and where mpirun and torchrun say different things.
[[nodiscard]] RankEnvironment read_rank_environment(const Environment& variable);
[[nodiscard]] RankEnvironment read_rank_environment();  // of this process

}  // namespace switchyard
