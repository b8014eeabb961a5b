// A grid of fine-tuning on ranks that `switchyard launch` starts, and starts again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "cli/mpi/launched.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class LaunchedFinetune : public LaunchedRanks {
 protected:
  LaunchedFinetune() : LaunchedRanks(SWITCHYARD_BINARY_DIR, SWITCHYARD_SOURCE_DIR) {
    fs::create_directories(folder_ / "glue/SST-2");
    for (const auto& [name, count] : {std::pair{"train", 320}, std::pair{"dev", 23}}) {
      std::ofstream file(folder_ / "glue/SST-2" / (std::string(name) + ".tsv"));
      file << "sentence\tlabel\n";
      for (int i = 0; i < count; ++i) {
        file << "line " << i * i % 97 << (i % 3 == 0 ? " so good\t1\n" : " so poor\t0\n");
      }
    }
    std::ofstream(folder_ / "encoder.yaml")
        << "run: {dir: unused, seed: 3}\ndata: {path: unused}\ntrain: {steps: 1}\n"
           "model: {type: encoder, hidden_size: 32, num_layers: 2, num_heads: 2, ffn_size: 48, "
           "moe: {num_experts: 4, expert_size: 24, layers: [1]}}\n";
  }

  [[nodiscard]] Strings finetune(const std::string& output, const Strings& flags) const {
    Strings command{"launch", "--nproc", "2"};
    command.insert(command.end(), flags.begin(), flags.end());
    const Strings of_rank{"--",
                          "finetune",
                          folder_ / "encoder.yaml",
                          "--task",
                          "sst2",
                          "--data",
                          folder_ / "glue",
                          "--from",
                          "none",
                          "--tokenizer",
                          "bytes",
                          "--output",
                          folder_ / output,
                          "--seeds",
                          "2",
                          "finetune.epochs=3",
                          "finetune.max_length=32",
                          "train.global_batch_size=16",
                          "train.checkpoint_every=1",
                          "train.log_every=1"};
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
