#include "switchyard/train/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;

TEST(RunFolder, RefusesAFolderThatHoldsARun) {
  const testing::TemporaryFolder folder;
  RunFolder::create(folder / "run").write_config("train: {steps: 1}\n");
  const std::string config = read_file(folder / "run/config.resolved.yaml");
  try {
    (void)RunFolder::create(folder / "run");
    FAIL() << "the run would have been overwritten";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("already holds a run"));
    EXPECT_THAT(error.hint(), HasSubstr("run.dir"));
  }
  EXPECT_EQ(read_file(folder / "run/config.resolved.yaml"), config);
}

TEST(RunFolder, RefusesFilesThatAreNoPartOfARunAndTouchesNothing) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"log.txt", "report.html", "metrics.jsonl", "thesis.tex", "data.json",
                           "checkpoints/step-000001/model.safetensors"}) {
    const fs::path run = folder / "run";
    fs::remove_all(run);
    fs::create_directories((run / name).parent_path());
    write_file_atomically(run / name, "precious");
    EXPECT_THROW((void)RunFolder::create(run), UsageError) << name;
    EXPECT_EQ(read_file(run / name), "precious");
    EXPECT_EQ(std::distance(fs::directory_iterator(run), fs::directory_iterator()), 1) << name;
  }
}

TEST(RunFolder, WhatAKilledStartBeganWithIsForgotten) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"run.lock", "origin.json"}) {
    fs::create_directories(folder / "run");
    write_file_atomically(folder / "run" / name, "");
  }
  const RunFolder run = RunFolder::create(folder / "run");
  EXPECT_FALSE(fs::exists(folder / "run/origin.json"));
}

TEST(RunFolder, TakesAFolderWithHiddenFilesOrTheRemainsOfAKilledStart) {
  const testing::TemporaryFolder folder;
  for (const char* name : {".gitkeep", "run.lock", "lost+found/x", "environment.json",
                           "config.resolved.yaml.tmp-12-0"}) {
    fs::create_directories((folder / "run" / name).parent_path());
    write_file_atomically(folder / "run" / name, "");
  }
  write_file_atomically(folder / "run" / "log.txt", "of the start that was killed\n");
  fs::create_directories(folder / "run" / "samples");
  EXPECT_NO_THROW((void)RunFolder::create(folder / "run"));
}

TEST(RunFolder, WhatIsOnlyCalledLikeRemainsIsNoPartOfAKilledStart) {
  const testing::TemporaryFolder folder;
  fs::create_directories(folder / "run");
  write_file_atomically(folder / "run" / "run.lock", "");
  for (const char* name : {"notes.tmp-2.md", "notes.md.tmp-2-1"}) {
    write_file_atomically(folder / "run" / name, "precious");
    EXPECT_THROW((void)RunFolder::create(folder / "run"), UsageError) << name;
    EXPECT_EQ(read_file(folder / "run" / name), "precious");
    fs::remove(folder / "run" / name);
  }
}

TEST(RunFolder, ALinkIsFilledWhereItLeadsAndStays) {
  const testing::TemporaryFolder folder;
  fs::create_directory_symlink("disk/run", folder / "run");
  { const RunFolder failed = RunFolder::create(folder / "run"); }
  EXPECT_FALSE(fs::exists(folder / "disk"));
  RunFolder::create(folder / "run").write_config("train: {steps: 1}\n");
  EXPECT_TRUE(fs::exists(folder / "disk/run/config.resolved.yaml"));
  EXPECT_TRUE(fs::is_symlink(folder / "run"));
  write_file_atomically(folder / "file", "");
  EXPECT_THROW((void)RunFolder::create(folder / "file"), UsageError);
}

TEST(RunFolder, AStartThatFailsLeavesNothingBehind) {
  const testing::TemporaryFolder folder;
  fs::create_directories(folder / "mine");
  for (const char* name : {"new", "new/", "deep/er/new", "mine"}) {
    {
      const RunFolder run = RunFolder::create(folder / name);
      write_file_atomically(run.log_file(), "why it failed\n");
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1)
        << name;
  }
  EXPECT_TRUE(fs::is_empty(folder / "mine"));
  { RunFolder::create(folder / "kept").write_config("train: {steps: 1}\n"); }
  EXPECT_TRUE(fs::exists(folder / "kept/samples"));
}

TEST(RunFolder, RefusesASecondProcessAndNamesTheFirst) {
  const testing::TemporaryFolder folder;
  std::optional<RunFolder> first(RunFolder::create(folder / "run"));
  try {
    (void)RunFolder::create(folder / "run");
    FAIL() << "two processes in one folder";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(::getpid())));
  }
  first.reset();
  (void)RunFolder::create(folder / "run");
}

TEST(RunFolder, TakesOverTheLockOfADeadProcess) {
  const testing::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "run");
  std::ofstream(folder / "run/run.lock") << "999999999\n";
  {
    const RunFolder run = RunFolder::create(folder / "run");
    EXPECT_EQ(run.left_by(), "999999999");
    EXPECT_THAT(read_file(folder / "run/run.lock"), StartsWith(std::to_string(::getpid()) + " "));
  }
  // A process that ends in order leaves no pid to wonder about.
  EXPECT_EQ(RunFolder::create(folder / "run").left_by(), "");
}

TEST(RunFolder, ReopenedItIsRidOfTheRemainsOfKilledWrites) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW((void)RunFolder::reopen(folder / "run"), UsageError);
  RunFolder::create(folder / "run").write_config("{}\n");
  for (const char* name : {"config.resolved.yaml.tmp-12-0", "samples/step-000001.txt.tmp-12-1"}) {
    std::ofstream(folder / (std::string("run/") + name)) << "half";
  }
  (void)RunFolder::reopen(folder / "run");
  EXPECT_FALSE(std::filesystem::exists(folder / "run/config.resolved.yaml.tmp-12-0"));
  EXPECT_FALSE(std::filesystem::exists(folder / "run/samples/step-000001.txt.tmp-12-1"));
  EXPECT_TRUE(std::filesystem::exists(folder / "run/config.resolved.yaml"));
}

TEST(RunFolder, ReopenedItKeepsWhatIsOfOthers) {
  const testing::TemporaryFolder folder;
  RunFolder::create(folder / "run").write_config("{}\n");
  const std::vector<std::string> of_others = {
      "notes.tmp-2.md", "notes.md.tmp-2-1", "samples/mine.txt.tmp-12-0",
      "report.html.tmp-" + std::to_string(::getppid()) + "-0"};  // is being written
  const std::vector<std::string> remains = {"report.html.tmp-999999999-0",
                                            "predictions.tsv.tmp-999999999-1",
                                            "checkpoints/LATEST.tmp-12-2"};
  for (const auto& names : {of_others, remains}) {
    for (const std::string& name : names) std::ofstream(folder / ("run/" + name)) << "text";
  }
  (void)RunFolder::reopen(folder / "run");
  for (const std::string& name : of_others)
    EXPECT_TRUE(fs::exists(folder / ("run/" + name))) << name;
  for (const std::string& name : remains)
    EXPECT_FALSE(fs::exists(folder / ("run/" + name))) << name;
}

TEST(RunFolder, WritesSamplesUnderTheirStep) {
  const testing::TemporaryFolder folder;
  RunFolder::create(folder / "run").write_sample(500, "In the beginning");
  EXPECT_EQ(read_file(folder / "run/samples/step-000500.txt"), "In the beginning");
}

TEST(RunFolder, WritesNothingIntoAnotherThatHasItsName) {
  const testing::TemporaryFolder folder;
  const RunFolder run = RunFolder::create(folder / "run");
  run.write_config("a: 1\n");
  EXPECT_NO_THROW(run.check_in_place());
  fs::rename(folder / "run", folder / "moved");
  EXPECT_THROW(run.check_in_place(), StorageError);
  const RunFolder other = RunFolder::create(folder / "run");
  try {
    run.write_sample(1, "of the first");
    FAIL() << "written into the other run";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("was moved, removed or replaced"));
    EXPECT_THAT(error.hint(), HasSubstr("move it back"));
  }
  EXPECT_TRUE(fs::is_empty(folder / "run/samples"));
  EXPECT_NO_THROW(other.check_in_place());
  EXPECT_NO_THROW(RunFolder::of_another_rank(folder / "run").check_in_place());
}

TEST(RunFolder, FolderThatCannotBeMadeIsAStorageError) {
  EXPECT_THROW((void)RunFolder::create("/dev/null/run"), StorageError);
}

}  // namespace
}  // namespace switchyard::train
