#include "cli/engine/on_ranks.h"

#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "cli/engine/report_error.h"
#include "switchyard/comm/beside.h"
#include "switchyard/comm/meeting.h"
#include "switchyard/comm/mpi.h"
#include "switchyard/comm/nccl.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/text.h"
#include "switchyard/comm/watched.h"
#include "switchyard/config/ranks.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/ranks.h"
#include "switchyard/ops/device.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {
namespace {

// Has every rank met it?
bool is_agreed(const std::exception& error) {
  return dynamic_cast<const PreemptedError*>(&error) != nullptr ||
         dynamic_cast<const NonFiniteError*>(&error) != nullptr;
}

// The last to go ends what connects the ranks.
struct Connected {
  std::unique_ptr<comm::Communicator> processes = {};  // over MPI, if they only meet there
  std::unique_ptr<comm::Communicator> watched = {};    // whose calls return when they are done
  std::unique_ptr<comm::Communicator> world = {};      // those that train
  bool over_mpi = false;
};

// This rank cannot go on, and the others cannot without it. Whoever started them ends them; nothing
// here may wait for them.
[[noreturn]] void end_all_ranks(bool over_mpi, int exit_code) {
  if (over_mpi) comm::end_all_mpi_ranks(exit_code);
  std::_Exit(exit_code);
}

// MPI itself waits for ever for a rank that does not come.
std::unique_ptr<comm::Communicator> connect_processes(const RankEnvironment& ranks,
                                                      std::chrono::seconds timeout) {
  const auto on_hang = [](const std::string& report) {
    log::error("the ranks do not find each other: {}", report);
    std::_Exit(kExitPeer);
  };
  std::unique_ptr<comm::Communicator> processes = comm::watched(
      ranks.rank, ranks.num_ranks, [timeout] { return comm::join_mpi({.timeout = timeout}); },
      {.on_hang = on_hang, .only_connecting = true, .timeout = timeout});
  if (processes->size() != ranks.num_ranks) {
    throw UsageError(fmt::format("{} started {} ranks, but MPI connects {}", ranks.starter,
                                 ranks.num_ranks, processes->size()),
                     "the program that starts the ranks belongs to another MPI than the one "
                     "that this build found; with srun try --mpi=pmix");
  }
  return processes;
}

// Ranks with a GPU each. They meet where the environment says, or over the MPI that started them.
Connected connect_gpus(const RankEnvironment& ranks, std::chrono::seconds timeout,
                       bool deterministic) {
  comm::choose_nccl_settings(deterministic);
  const c10::Device device = ops::use_gpu(ranks.local_rank);
  const bool meets_over_mpi = !ranks.meeting.is_named();
  if (meets_over_mpi && (ranks.starter == "torchrun" || !comm::built_with_mpi())) {
    throw UsageError(
        fmt::format("{} ranks on GPUs, and nothing says where they can meet", ranks.num_ranks),
        fmt::format("set {} to the host of rank 0 and {} to a port that is free there, for all "
                    "ranks (docs/parallel.md has scripts)",
                    rank_variables::kHost, rank_variables::kPort));
  }
  Connected connected;
  const std::string own = ranks.rank == 0 ? comm::new_nccl_id() : "";
  std::string id;
  if (meets_over_mpi) {
    connected.over_mpi = true;
    connected.processes = connect_processes(ranks, timeout);
    id = comm::text_of_first(*connected.processes, own, "NCCL id");
  } else {
    id = comm::meet(ranks, own, timeout);
  }
  // A device waits for ever, and the host for the device: somebody else has to notice.
  const auto on_hang = [over_mpi = connected.over_mpi](const std::string& report) {
    log::error("the ranks do not go on: {}", report);
    end_all_ranks(over_mpi, kExitPeer);
  };
  const comm::NcclOptions options{
      .id = id, .rank = ranks.rank, .num_ranks = ranks.num_ranks, .device = device};
  connected.world = comm::watched(
      ranks.rank, ranks.num_ranks, [&options] { return comm::join_nccl(options); },
      {.on_hang = on_hang, .timeout = timeout, .find_error = &comm::nccl_error, .device = device});
  return connected;
}

Connected connect(const config::Config& config, const RankEnvironment& ranks) {
  const std::chrono::seconds timeout(config.parallel.start_timeout);
  if (config.train.device == "cuda")
    return connect_gpus(ranks, timeout, config.train.deterministic);
  if (ranks.starter == "torchrun") {
    throw UsageError("ranks on CPUs talk over MPI, which torchrun does not start",
                     "start them with mpirun, srun or `switchyard launch`");
  }
  Connected connected{.watched = connect_processes(ranks, timeout), .over_mpi = true};
  connected.world = comm::beside(*connected.watched);
  return connected;
}

}  // namespace

int on_ranks(const config::Config& config, bool debug,
             const std::function<void(comm::Communicator& world)>& body) {
  const RankEnvironment ranks = read_rank_environment();
  if (ranks.num_ranks == 1) {
    body(*comm::make_self_communicator());
    return kExitDone;
  }
  config::check_ranks(config, ranks.num_ranks);
  const train::StopSignal stop;  // a stop while the ranks start waits for the first step
  const Connected connected = connect(config, ranks);
  int code = kExitDone;
  try {
    body(*connected.world);
  } catch (const std::exception& error) {
    code = exit_code_of(error);
    if (!is_agreed(error)) {
      const int status = report_any_error(error, debug);
      connected.world->abandon();
      const bool waited = dynamic_cast<const PeerError*>(&error) != nullptr;
      const std::string report = waited ? comm::report_of_hang(*connected.world) : "";
      if (!report.empty()) log::error("{}", report);
      end_all_ranks(connected.over_mpi, status);
    }
    if (ranks.rank == 0) (void)report_any_error(error, debug);
  }
  comm::forget_record(*connected.world);
  return code;
}

}  // namespace switchyard::cli
