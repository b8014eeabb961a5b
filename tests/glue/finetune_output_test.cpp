// The folder that `finetune --output` names: whose it is, and what happens when a file cannot be
// written there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "glue/finetune_fixture.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class FinetuneOutput : public Finetune {
 protected:
  FinetuneOutput() {
    options_.overrides = {"finetune.epochs=1", "finetune.max_rows=8", "train.global_batch_size=8"};
  }
};

TEST_F(FinetuneOutput, FilesOfSomethingElseAreRefusedByNameAndLeftAlone) {
  pretrain();
  for (const char* name :
       {"results.md", "results.json", "report.html", "log.txt", "submission/SST-2.tsv"}) {
    write(std::string("out/") + name, "mine");
    EXPECT_THAT(problem<UsageError>(),
                AllOf(HasSubstr(fs::path(name).begin()->string()), HasSubstr("something else")))
        << name;
    EXPECT_EQ(read_file(folder_ / "out" / name), "mine");
    fs::remove_all(folder_ / "out");
  }
  write("out/notes.txt", "mine");
  (void)finetune(options_);
  EXPECT_EQ(read_file(folder_ / "out/notes.txt"), "mine") << "in nobody's way";
  (void)finetune(options_);  // what is there now is its own
}

TEST_F(FinetuneOutput, ALinkToAFolderThatIsNotThereYetLeadsToIt) {
  pretrain();
  fs::create_symlink(folder_ / "elsewhere", folder_ / "out");
  (void)finetune(options_);
  EXPECT_TRUE(fs::is_symlink(folder_ / "out"));
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/results.json"));
}

TEST_F(FinetuneOutput, AFileThatCannotBeWrittenEndsTheCommandAfterTheLastTaskOnly) {
  pretrain();
  options_.tasks = parse_tasks("sst2,stsb");
  write("glue/STS-B/test.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n");
  options_.submission = true;
  (void)finetune(options_);
  fs::remove_all(folder_ / "out/stsb");
  fs::remove_all(folder_ / "out/submission");
  fs::create_directories(folder_ / "out/submission/SST-2.tsv/in the way");
  EXPECT_THAT(problem<StorageError>(), HasSubstr("SST-2.tsv"));
  EXPECT_TRUE(fs::exists(folder_ / "out/stsb/seed-7/eval_results.json"));
  EXPECT_TRUE(fs::exists(folder_ / "out/submission/STS-B.tsv"));
  fs::remove_all(folder_ / "out/submission");
  (void)finetune(options_);
  EXPECT_TRUE(fs::is_regular_file(folder_ / "out/submission/SST-2.tsv"));
}

TEST_F(FinetuneOutput, ASeedWithoutItsPredictionsIsTakenUpAgain) {
  pretrain();
  (void)finetune(options_);
  const fs::path seed = folder_ / "out/sst2/seed-7";
  fs::remove(seed / "eval_results.json");
  fs::remove(seed / "predictions.tsv");
  fs::create_directories(seed / "predictions.tsv/in the way");
  std::size_t num_told = 0;
  options_.at_end = [&](const std::vector<TaskResult>& results) { num_told = results.size(); };
  EXPECT_THAT(problem<StorageError>(), HasSubstr("predictions.tsv"));
  EXPECT_EQ(num_told, 1U) << "its figures are told all the same";
  EXPECT_FALSE(fs::exists(seed / "eval_results.json"));
  fs::remove_all(seed / "predictions.tsv");
  (void)finetune(options_);
  EXPECT_TRUE(fs::is_regular_file(seed / "predictions.tsv"));
  EXPECT_TRUE(fs::exists(seed / "eval_results.json"));
}

TEST_F(FinetuneOutput, ASeedWhoseResultsCannotBeWrittenDoesNotEndTheGrid) {
  pretrain();
  options_.tasks = parse_tasks("sst2,stsb");
  (void)finetune(options_);
  fs::remove_all(folder_ / "out/stsb");
  const fs::path results = folder_ / "out/sst2/seed-7/eval_results.json";
  fs::remove(results);
  fs::create_directories(results / "in the way");
  EXPECT_THAT(problem<StorageError>(), HasSubstr("eval_results.json"));
  EXPECT_TRUE(fs::exists(folder_ / "out/stsb/seed-7/eval_results.json"));
  fs::remove_all(results);
  (void)finetune(options_);
  EXPECT_TRUE(fs::is_regular_file(results));
}

TEST_F(FinetuneOutput, DamagedNotesAreNamed) {
  pretrain();
  (void)finetune(options_);
  format::Json noted = json("out/finetune.json");
  noted["rows"]["sst2"]["train"] = nullptr;
  write("out/finetune.json", format::json_text(noted));
  EXPECT_THAT(problem<DataError>(), AllOf(HasSubstr("finetune.json"), HasSubstr("train")));
}

TEST_F(FinetuneOutput, AnotherTokenizerOrCheckpointOfTheSameNameIsSaid) {
  pretrain();
  (void)finetune(options_);
  fs::remove_all(folder_ / "run");
  pretrain("decoder");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("it is another checkpoint now"));
  options_.output = folder_ / "scratch";
  options_.from.clear();
  options_.tokenizer = "bytes";
  write("config.yaml",
        "schedule: {type: warmup_stable_decay, warmup_steps: 4000, decay_steps: 4000}\n"
        "model: {type: encoder, hidden_size: 16, num_layers: 1, num_heads: 2, ffn_size: 16}\n");
  options_.config_file = folder_ / "config.yaml";
  (void)finetune(options_);  // with lengths of the schedule that fit its few steps
  format::Json noted = json("scratch/finetune.json");
  noted["fingerprint"] = "0";
  write("scratch/finetune.json", format::json_text(noted));
  EXPECT_THAT(problem<UsageError>(), HasSubstr("another tokenizer than this one (257 pieces"));
}

}  // namespace
}  // namespace switchyard::glue
