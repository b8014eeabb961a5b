// `switchyard launch`: one training as several processes on this machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace switchyard::cli {

struct Launch {
  std::int64_t num_ranks = 1;
  std::int64_t num_restarts = 0;                // in a row, without a new checkpoint in between
  std::vector<std::string> command = {};        // of a rank: this program and its arguments
  std::vector<std::string> command_again = {};  // the same when it is started again
  bool goes_back = false;                       // the first goes back to a step: until it has
  std::filesystem::path run = {};               // the folder of the run
  bool on_gpus = false;                         // ranks talk over NCCL, not over MPI
};

// Starts the ranks, those on CPUs with mpirun, passes signals on (SIGINT, SIGTERM, SIGHUP,
// SIGUSR1, SIGUSR2 and SIGXCPU ask for a stop that saves; a second one ends the ranks), starts them
// again after one of them died, and returns the exit code of the last start: of the first rank that
// failed, 77 when one was killed. When this process dies the ranks end. Throws UsageError where
// mpirun is needed and not there.
int launch(const Launch& what);

}  // namespace switchyard::cli
