#include "switchyard/core/ranks.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard {
namespace {

// The variables of one way to start ranks.
struct Names {
  const char* starter;
  const char* rank;
  const char* num_ranks;
  const char* local_rank;
  const char* num_local_ranks;
};

// The first that is set counts.
constexpr Names kTorchrun{"torchrun", rank_variables::kRank, rank_variables::kNumRanks,
                          rank_variables::kLocalRank, rank_variables::kNumLocalRanks};
constexpr Names kOpenMpi{"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                         "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kMpich{"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};
// Of a step, so not of the batch script, which is one process whatever the job's size is.
constexpr Names kSlurm{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID",
                       "SLURM_STEP_TASKS_PER_NODE"};

std::int64_t number_in(const char* name, const char* text) {
  std::int64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  // Slurm writes "4(x2)" for two machines of 4 tasks each.
  if (error == std::errc() && value >= 0 && (stop == end || *stop == '(' || *stop == ',')) {
    return value;
  }
  throw UsageError(
      fmt::format("the environment variable {} is '{}', which is no number", name, text),
      "the program that starts the ranks sets it: start them with mpirun, srun or "
      "`switchyard launch`, or unset it");
}

// Set and not empty, or nullptr.
const char* value_in(const Environment& variable, const char* name) {
  const char* const value = variable(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

std::optional<RankEnvironment> read(const Names& names, const Environment& variable) {
  const auto value_of = [&variable](const char* name) { return value_in(variable, name); };
  const char* rank = value_of(names.rank);
  const char* num_ranks = value_of(names.num_ranks);
  if (rank == nullptr || num_ranks == nullptr) return std::nullopt;
  RankEnvironment found{.rank = number_in(names.rank, rank),
                        .num_ranks = number_in(names.num_ranks, num_ranks),
                        .starter = names.starter};
  if (found.rank >= found.num_ranks) {
    throw UsageError(fmt::format("{}={}, but {}={}: ranks count from 0", names.rank, rank,
                                 names.num_ranks, num_ranks));
  }
  found.num_local_ranks = found.num_ranks;  // where nothing else is said
  for (const char* name : {names.num_local_ranks, kSlurm.num_local_ranks}) {
    if (const char* value = value_of(name); value != nullptr) {
      found.num_local_ranks = number_in(name, value);
      break;
    }
  }
  if (found.num_local_ranks < 1) found.num_local_ranks = 1;
  found.local_rank = found.rank % found.num_local_ranks;  // where nothing else is said
  for (const char* name : {names.local_rank, kSlurm.local_rank}) {
    if (const char* value = value_of(name); value != nullptr) {
      found.local_rank = number_in(name, value);
      break;
    }
  }
  return found;
}

MeetingPlace read_meeting_place(const Environment& variable) {
  using namespace rank_variables;
  const char* const host = value_in(variable, kHost);
  const char* const port = value_in(variable, kPort);
  if (host == nullptr || port == nullptr) return {};
  MeetingPlace place{.host = host, .port = number_in(kPort, port)};
  constexpr std::int64_t kLastPort = 65535;
  if (place.port < 1 || place.port > kLastPort) {
    throw UsageError(fmt::format("{} is {}, expected 1 to {}", kPort, port, kLastPort));
  }
  const char* const served = value_in(variable, "TORCHELASTIC_USE_AGENT_STORE");
  place.is_served = served != nullptr && std::strcmp(served, "True") == 0;
  if (const char* const socket = value_in(variable, kListeningSocket)) {
    place.listening_socket = static_cast<int>(number_in(kListeningSocket, socket));
  }
  if (const char* const attempt = value_in(variable, "TORCHELASTIC_RESTART_COUNT")) {
    place.attempt = attempt;
  }
  return place;
}

}  // namespace

RankEnvironment read_rank_environment(const Environment& variable) {
  std::optional<RankEnvironment> found;
  for (const Names* names : {&kTorchrun, &kOpenMpi, &kMpich}) {
    const std::optional<RankEnvironment> own = read(*names, variable);
    if (!own) continue;
    // srun itself speaks as MPICH does, of its own tasks, one of which may have started torchrun.
    const bool is_of_srun =
        names == &kMpich && value_in(variable, kSlurm.rank) != nullptr && found.has_value();
    if (is_of_srun) continue;
    if (found && (found->rank != own->rank || found->num_ranks != own->num_ranks)) {
      throw UsageError(
          fmt::format("{} says that this is rank {} of {}, {} says rank {} of {}", found->starter,
                      found->rank, found->num_ranks, own->starter, own->rank, own->num_ranks),
          "start the ranks with one of them");
    }
    if (!found) found = own;
  }
  if (!found) found = read(kSlurm, variable);
  if (!found) return {};
  found->meeting = read_meeting_place(variable);
  return *found;
}

RankEnvironment read_rank_environment() {
  return read_rank_environment([](const char* name) { return std::getenv(name); });
}

}  // namespace switchyard
