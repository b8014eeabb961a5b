#include "switchyard/train/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;

TEST(RunFolder, RefusesAFolderThatHoldsARun) {
  const testing::TemporaryFolder folder;
  RunFolder::create(folder / "run").write_config("train: {steps: 1}\n");
  try {
    (void)RunFolder::create(folder / "run");
    FAIL() << "the run would have been overwritten";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("already holds a run"));
    EXPECT_THAT(error.hint(), HasSubstr("run.dir"));
  }
  EXPECT_EQ(read_file(folder / "run/config.resolved.yaml"), "train: {steps: 1}\n");
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
  (void)RunFolder::create(folder / "run");
  EXPECT_EQ(read_file(folder / "run/run.lock"), std::to_string(::getpid()) + "\n");
}

TEST(RunFolder, WritesSamplesUnderTheirStep) {
  const testing::TemporaryFolder folder;
  RunFolder::create(folder / "run").write_sample(500, "In the beginning");
  EXPECT_EQ(read_file(folder / "run/samples/step-000500.txt"), "In the beginning");
}

TEST(RunFolder, FolderThatCannotBeMadeIsAStorageError) {
  EXPECT_THROW((void)RunFolder::create("/dev/null/run"), StorageError);
}

}  // namespace
}  // namespace switchyard::train
