// Ranks as processes of this machine that `switchyard launch` starts.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "cli/program_runs.h"

namespace switchyard {

// The rank in the environment of a process of ours with this argument.
inline std::optional<std::int64_t> rank_of(const fs::path& process, const std::string& argument) {
  try {
    if (read_file(process / "cmdline").find(argument + '\0') == std::string::npos) {
      return std::nullopt;
    }
    if (read_file(process / "comm") != "switchyard-engi\n") return std::nullopt;
    const std::string environment = '\0' + read_file(process / "environ");
    const std::string name = std::string(1, '\0') + "OMPI_COMM_WORLD_RANK=";
    const std::size_t at = environment.find(name);
    if (at == std::string::npos) return std::nullopt;
    return std::atoll(environment.c_str() + at + name.size());
  } catch (const std::exception&) {  // it has just ended
    return std::nullopt;
  }
}

class LaunchedRanks : public ProgramRuns {
 protected:
  LaunchedRanks(const fs::path& binaries, const fs::path& sources)
      : ProgramRuns(binaries, sources) {}

  [[nodiscard]] Strings launch(const std::string& name, int num_ranks, const Strings& more,
                               const Strings& flags = {}) const {
    Strings command{"launch", "--nproc", std::to_string(num_ranks)};
    command.insert(command.end(), flags.begin(), flags.end());
    command.emplace_back("--");
    Strings settings{"train.precision=fp32",
                     "train.micro_batch_size=" + std::to_string(8 / num_ranks)};
    settings.insert(settings.end(), more.begin(), more.end());
    const Strings of_rank = pretrain(name, settings);
    command.insert(command.end(), of_rank.begin(), of_rank.end());
    return command;
  }

  // Processes that train in this run, by rank.
  [[nodiscard]] std::map<std::int64_t, pid_t> ranks_of(const std::string& name) const {
    return ranks_with("run.dir=" + (folder_ / name).string());
  }
  [[nodiscard]] static std::map<std::int64_t, pid_t> ranks_with(const std::string& argument) {
    std::map<std::int64_t, pid_t> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/proc", error)) {
      const pid_t pid = std::atoi(entry.path().filename().c_str());
      if (pid <= 0) continue;
      const auto rank = rank_of(entry.path(), argument);
      if (rank) found[*rank] = pid;
    }
    return found;
  }

  // Once it trains; false when it ended before.
  [[nodiscard]] bool wait_for_step(Program& program, const std::string& name,
                                   std::size_t steps) const {
    for (int tries = 0; tries < 60'000; ++tries) {
      std::error_code error;
      if (fs::exists(folder_ / (name + "/metrics.jsonl"), error) && losses(name).size() >= steps) {
        return true;
      }
      if (program.ends_within(std::chrono::milliseconds(1))) return false;
    }
    return false;
  }

  [[nodiscard]] bool ranks_end_within(const std::string& name, std::chrono::seconds time) const {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      if (ranks_of(name).empty()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  // Long enough for whatever is to happen to it.
  [[nodiscard]] static Strings forever() { return {"train.steps=100000", "train.log_every=1"}; }
};

}  // namespace switchyard
