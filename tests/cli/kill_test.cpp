// The program itself, killed with SIGKILL at random moments and resumed, against a run that was
// left alone: same losses, same tensors, bit for bit. SWITCHYARD_KILLS sets the number of kills per
// run (default 3), SWITCHYARD_KILL_SEED repeats a printed choice of moments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <random>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>
#include "cli/program_runs.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using testing::number_from_environment;

class Killed : public ProgramRuns {
 protected:
  Killed() : ProgramRuns(SWITCHYARD_BINARY_DIR, SWITCHYARD_SOURCE_DIR) {}

  // True once the run has saved and gone on for a moment.
  [[nodiscard]] bool wait_for_a_checkpoint(Program& program) const {
    while (!fs::exists(folder_ / "killed/checkpoints/LATEST")) {
      if (program.ends_within(std::chrono::milliseconds(1))) return false;
    }
    return !program.ends_within(std::chrono::milliseconds(5));
  }

  [[nodiscard]] bool went_on_from_a_checkpoint() const {
    std::istringstream lines(read_file(folder_ / "killed/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json record = nlohmann::json::parse(line);
      if (record.value("event", "") == "resume" && record["step"] > 0) return true;
    }
    return false;
  }

  void kill_again_and_again(const Strings& settings, bool with_router_state) {
    const auto seed =
        static_cast<unsigned>(number_from_environment("SWITCHYARD_KILL_SEED", ::getpid()));
    const int num_kills = number_from_environment("SWITCHYARD_KILLS", 3);
    std::cout << "SWITCHYARD_KILL_SEED=" << seed << "\n";
    std::mt19937 random(seed);
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(run(pretrain("whole", settings)), 0) << messages();
    const auto whole_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                              std::chrono::steady_clock::now() - start)
                              .count();
    Strings command = pretrain("killed", settings);
    int killed = 0;
    bool resumed = false;
    while (killed < num_kills) {
      Program program(program_, command, folder_ / "messages.txt");
      // From before the first step to after the last; most of it while training.
      const auto wait_ms = std::uniform_int_distribution<long>(whole_ms / 8, whole_ms)(random);
      // The first one surely leaves something to resume from.
      const bool ended = killed == 0 ? !wait_for_a_checkpoint(program)
                                     : program.ends_within(std::chrono::milliseconds(wait_ms));
      if (!ended) program.send(SIGKILL);
      const int status = program.wait();
      if (status != 128 + SIGKILL) {
        ASSERT_EQ(status, 0) << messages();
        // Done before its kill came: from the beginning, as long as kills are left.
        expect_same_end("whole", "killed", with_router_state);
        resumed = resumed || went_on_from_a_checkpoint();
        fs::remove_all(folder_ / "killed");
        command = pretrain("killed", settings);
        continue;
      }
      ++killed;
      if (fs::exists(folder_ / "killed/config.resolved.yaml")) {
        command = {"resume", folder_ / "killed"};
      }
    }
    ASSERT_EQ(run(command), 0) << messages();
    expect_same_end("whole", "killed", with_router_state);
    EXPECT_TRUE(resumed || went_on_from_a_checkpoint());
    // Nothing is left of the writes that were cut off.
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "killed")) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::Not(HasSubstr(".tmp")));
    }
  }
};

TEST_F(Killed, InFp32AtRandomMomentsItEndsAsIfItHadNotBeen) {
  kill_again_and_again({"train.precision=fp32", "train.recompute=true"}, false);
}

TEST_F(Killed, InBf16WithARouterThatHasStateItEndsAsIfItHadNotBeen) {
  kill_again_and_again({"train.precision=bf16", "train.recompute=true",
                        "model.moe.router.type=attention_importance"},
                       true);
}

TEST_F(Killed, InFp32WhileCheckpointsAreWrittenBesideTraining) {
  kill_again_and_again({"train.precision=fp32", "train.async_save=true"}, false);
}

TEST_F(Killed, ASignalSavesTheStepAndTheResumedRunEndsAsIfThereHadBeenNone) {
  ASSERT_EQ(run(pretrain("whole", {})), 0) << messages();
  Strings command = pretrain("stopped", {});
  int stopped = 0;
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU}) {
    Program program(program_, command, folder_ / "messages.txt");
    // Once it is past its start.
    const fs::path metrics = folder_ / "stopped/metrics.jsonl";
    const std::uintmax_t before = fs::exists(metrics) ? fs::file_size(metrics) : 0;
    while (!program.ends_within(std::chrono::milliseconds(1)) &&
           (!fs::exists(metrics) || fs::file_size(metrics) <= before + 200)) {
    }
    program.send(signal);
    const int code = program.wait();
    ASSERT_TRUE(code == 75 || code == 0) << code << "\n" << messages();
    stopped += code == 75 ? 1 : 0;
    command = {"resume", folder_ / "stopped"};
  }
  EXPECT_GE(stopped, 1);
  ASSERT_EQ(run(command), 0) << messages();
  expect_same_end("whole", "stopped");
}

TEST_F(Killed, AResumeThatCannotBeIsRefusedBeforeAnythingIsLoaded) {
  EXPECT_EQ(run({"resume", folder_ / "nowhere"}), 2);
  EXPECT_THAT(messages(), HasSubstr("no such run"));
  ASSERT_EQ(run(pretrain("run", {})), 0);
  EXPECT_EQ(run({"resume", folder_ / "run", "model.hidden_size=64", "run.seed=4"}), 2);
  EXPECT_THAT(messages(), HasSubstr("model.hidden_size: the run was started with 32"));
  EXPECT_THAT(messages(), HasSubstr("run.seed: the run was started with 1"));
  EXPECT_EQ(run({"resume", folder_ / "run", "--allow-change", "run.sed"}), 2);
  EXPECT_THAT(messages(), HasSubstr("unknown key 'run.sed' (did you mean 'run.seed'?)"));
}

}  // namespace
}  // namespace switchyard
