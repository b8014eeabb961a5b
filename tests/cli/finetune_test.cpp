// Fine-tuning by the program itself, killed in the middle of a seed and started again: the same
// results, bit for bit, as of a grid that was left alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "cli/program_runs.h"
#include "cli/tiny_grid.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

class FinetuneProgram : public ProgramRuns {
 protected:
  FinetuneProgram() : ProgramRuns(SWITCHYARD_BINARY_DIR, SWITCHYARD_SOURCE_DIR) {
    write_tiny_grid(folder_.path(), 160);
  }

  [[nodiscard]] Strings finetune(const std::string& output, const Strings& more = {}) const {
    Strings arguments = finetune_tiny_grid(folder_.path(), output);
    arguments.emplace_back("train.early_stop_patience=0");
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  // Until the second seed is some steps into its training.
  [[nodiscard]] bool wait_for_the_second_seed(Program& program) const {
    const fs::path metrics = folder_ / "killed/sst2/seed-4/metrics.jsonl";
    while (!fs::exists(metrics) || losses("killed/sst2/seed-4").size() < 4) {
      if (program.ends_within(std::chrono::milliseconds(1))) return false;
    }
    return true;
  }

  void expect_same_file(const std::string& name) const {
    EXPECT_EQ(read_file(folder_ / "whole" / name), read_file(folder_ / "killed" / name)) << name;
  }
};

TEST_F(FinetuneProgram, KilledInTheMiddleOfASeedItEndsAsIfItHadNotBeen) {
  ASSERT_EQ(run(finetune("whole")), 0) << messages();
  {
    Program program(program_, finetune("killed"), folder_ / "messages.txt");
    ASSERT_TRUE(wait_for_the_second_seed(program)) << messages();
    program.send(SIGKILL);
    ASSERT_EQ(program.wait(), 128 + SIGKILL);
  }
  ASSERT_TRUE(fs::exists(folder_ / "killed/sst2/seed-3/eval_results.json"));
  ASSERT_FALSE(fs::exists(folder_ / "killed/sst2/seed-4/eval_results.json"));
  ASSERT_EQ(run(finetune("killed")), 0) << messages();
  EXPECT_THAT(messages(), HasSubstr("seed-3: done already"));
  EXPECT_THAT(read_file(folder_ / "killed/sst2/seed-4/metrics.jsonl"), HasSubstr("\"resume\""));
  EXPECT_EQ(losses("whole/sst2/seed-4"), losses("killed/sst2/seed-4"));
  EXPECT_EQ(losses("whole/sst2/seed-4").size(), 30U);
  for (const char* name : {"sst2/seed-4/eval_results.json", "sst2/seed-4/predictions.tsv",
                           "results.md", "results.json"}) {
    expect_same_file(name);
  }
  int num_tensor_files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "whole/sst2/seed-4")) {
    if (entry.path().extension() != ".safetensors") continue;
    expect_same_file(fs::relative(entry.path(), folder_ / "whole").string());
    ++num_tensor_files;
  }
  EXPECT_EQ(num_tensor_files, 2) << "weights and moments of the best checkpoint";
}

TEST_F(FinetuneProgram, OfAGridWhereASeedDivergedTheExitCodeSaysSo) {
  EXPECT_EQ(run(finetune("out", {"optim.learning_rate=1e30", "optim.clip_norm=0",
                                 "train.max_skipped_steps=1"})),
            76)
      << messages();
  EXPECT_THAT(read_file(folder_ / "out/results.md"), HasSubstr("| 0 of 2 |"));
}

TEST_F(FinetuneProgram, AMissingColumnIsNamedWithItsLine) {
  std::ofstream(folder_ / "glue/SST-2/dev.tsv") << "text\tlabel\nso good\t1\n";
  EXPECT_EQ(run(finetune("out")), 65);
  EXPECT_THAT(messages(), HasSubstr("SST-2/dev.tsv:1: no column 'sentence'; there are: text"));
}

}  // namespace
}  // namespace switchyard
