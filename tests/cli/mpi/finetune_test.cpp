// A grid of fine-tuning on ranks that `switchyard launch` starts, and starts again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "cli/mpi/launched.h"
#include "cli/tiny_grid.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class LaunchedFinetune : public LaunchedRanks {
 protected:
  LaunchedFinetune() : LaunchedRanks(SWITCHYARD_BINARY_DIR, SWITCHYARD_SOURCE_DIR) {
    write_tiny_grid(folder_.path(), 320);
  }

  [[nodiscard]] Strings finetune(const std::string& output, const Strings& flags) const {
    Strings command{"launch", "--nproc", "2"};
    command.insert(command.end(), flags.begin(), flags.end());
    command.emplace_back("--");
    const Strings of_rank = finetune_tiny_grid(folder_.path(), output);
    command.insert(command.end(), of_rank.begin(), of_rank.end());
    return command;
  }

  // Once that seed has made some steps; false when the program ended before.
  [[nodiscard]] bool kill_in(Program& program, const std::string& seed, std::int64_t rank) const {
    if (!wait_for_step(program, "killed/sst2/" + seed, 4)) return false;
    const auto ranks = ranks_with((folder_ / "killed").string());
    if (!ranks.contains(rank)) return false;
    ::kill(ranks.at(rank), SIGKILL);
    return true;
  }
};

// What is saved of any seed counts as a reason to try again: one restart is enough for two deaths.
TEST_F(LaunchedFinetune, IsStartedAgainWhereItWasAndEndsAsIfNothingHadDied) {
  ASSERT_EQ(run(finetune("whole", {})), 0) << messages();
  Program program(program_, finetune("killed", {"--restarts", "1"}), folder_ / "messages.txt");
  ASSERT_TRUE(kill_in(program, "seed-3", 1)) << messages();
  ASSERT_TRUE(kill_in(program, "seed-4", 0)) << messages();
  EXPECT_EQ(program.wait(), 0) << messages();
  EXPECT_THAT(messages(), HasSubstr("starting them again from what is saved"));
  EXPECT_THAT(messages(), HasSubstr("seed-3: done already"));
  for (const char* name : {"results.json", "results.md", "sst2/seed-3/predictions.tsv",
                           "sst2/seed-4/predictions.tsv"}) {
    EXPECT_EQ(read_file(folder_ / "whole" / name), read_file(folder_ / "killed" / name)) << name;
  }
  EXPECT_EQ(losses("whole/sst2/seed-4"), losses("killed/sst2/seed-4"));
}

}  // namespace
}  // namespace switchyard
