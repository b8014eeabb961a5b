#include "cli/engine/on_ranks.h"

#include <chrono>
#include <exception>
#include <memory>

#include "cli/engine/report_error.h"
#include "switchyard/comm/mpi.h"
#include "switchyard/comm/self.h"
#include "switchyard/config/ranks.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/ranks.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {
namespace {

// Has every rank met it?
bool is_agreed(const std::exception& error) {
  return dynamic_cast<const PreemptedError*>(&error) != nullptr ||
         dynamic_cast<const NonFiniteError*>(&error) != nullptr;
}

}  // namespace

int on_ranks(const config::Config& config, bool debug,
             const std::function<void(comm::Communicator& world)>& body) {
  const RankEnvironment ranks = read_rank_environment();
  if (ranks.num_ranks == 1) {
    body(*comm::make_self_communicator());
    return kExitDone;
  }
  if (ranks.starter == "torchrun") {
    throw UsageError("ranks on CPUs talk over MPI, which torchrun does not start",
                     "start them with mpirun, srun or `switchyard launch`");
  }
  config::check_ranks(config, ranks.num_ranks);
  const train::StopSignal stop;  // a stop while the ranks start waits for the first step
  const std::unique_ptr<comm::Communicator> world =
      comm::join_mpi({.timeout = std::chrono::seconds(config.parallel.timeout)});
  int code = kExitDone;
  try {
    if (world->size() != ranks.num_ranks) {
      throw UsageError(fmt::format("{} started {} ranks, but MPI connects {}", ranks.starter,
                                   ranks.num_ranks, world->size()),
                       "the program that starts the ranks belongs to another MPI than the one "
                       "that this build found; with srun try --mpi=pmix");
    }
    body(*world);
  } catch (const std::exception& error) {
    code = exit_code_of(error);
    if (!is_agreed(error)) comm::end_all_mpi_ranks(report_any_error(error, debug));
    if (ranks.rank == 0) (void)report_any_error(error, debug);
  }
  return code;  // the last communicator, in order, ends MPI
}

}  // namespace switchyard::cli
