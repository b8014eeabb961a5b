#include "switchyard/config/checkpoint_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/temporary_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/file.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

class CheckpointNames : public ::testing::Test {
 protected:
  CheckpointNames() {
    for (const char* step : {"step-000500", "step-1000000", "step-000600", "step-000700.unsound",
                             "step-000800.damaged"}) {
      fs::create_directories(checkpoints_ / step);
      write_file_atomically(checkpoints_ / step / kCheckpointManifestName, "{}");
    }
    fs::create_directories(checkpoints_ / "step-000900");  // without a manifest
    write_file_atomically(run_ / kResolvedConfigName, "");
  }
  [[nodiscard]] std::string folder_of(std::string_view name) const {
    return named_checkpoint(run_, name).filename().string();
  }

  testing::TemporaryFolder folder_;
  fs::path run_ = folder_ / "run";
  fs::path checkpoints_ = run_ / kCheckpointsFolderName;
};

TEST_F(CheckpointNames, NameTheBestTheNewestSoundAndAnyStep) {
  EXPECT_EQ(folder_of("latest"), "step-1000000");
  EXPECT_EQ(folder_of("500"), "step-000500");
  EXPECT_EQ(folder_of("1000000"), "step-1000000");
  EXPECT_EQ(folder_of("700"), "step-000700.unsound");
  EXPECT_EQ(folder_of("best"), "");
  write_file_atomically(checkpoints_ / "BEST", "step-000600\n");
  EXPECT_EQ(folder_of("best"), "step-000600");
  for (const char* none : {"800", "900", "5", "99999999999999999999", "", "BEST"}) {
    EXPECT_EQ(folder_of(none), "") << none;
  }
  for (const char* wrong : {"", "../../x", "step-000900", "step-000700.damaged"}) {
    write_file_atomically(checkpoints_ / "BEST", wrong);
    EXPECT_EQ(folder_of("best"), "") << wrong;
  }
}

TEST_F(CheckpointNames, WhatIsMissingIsSaidWithWhatIsThere) {
  EXPECT_EQ(no_such_checkpoint("r", "7"), "'r' has none of step 7; there is none");
  EXPECT_EQ(no_such_checkpoint(run_, "best"),
            "'" + run_.string() +
                "' has no best one (train.keep_best=true keeps it); there are step-000500, "
                "step-000600, step-000700.unsound, step-1000000");
}

TEST_F(CheckpointNames, AreCutFromTheRunUnlessAFileIsCalledSo) {
  EXPECT_EQ(parse_named_run("runs/a@best").run, "runs/a");
  EXPECT_EQ(parse_named_run("runs/a@best").checkpoint, "best");
  EXPECT_EQ(parse_named_run("runs/a@500").checkpoint, "500");
  EXPECT_EQ(parse_named_run("me@host/a@latest").run, "me@host/a");
  for (const char* whole : {"runs/a", "me@host/a", "a@b", "a@", "a@-5", "a@5x"}) {
    EXPECT_EQ(parse_named_run(whole).run, whole);
    EXPECT_EQ(parse_named_run(whole).checkpoint, "");
  }
  const std::string odd = (folder_ / "run@5").string();
  fs::create_directory(odd);
  EXPECT_EQ(parse_named_run(odd).run, odd);
}

TEST(StepName, IsReadBackAndIsNoNameOfAnUnsoundOne) {
  for (const std::int64_t step : {0, 7, 500, 999999, 1000000}) {
    EXPECT_EQ(step_in_name(step_name(step)), step);
    EXPECT_TRUE(is_step_name(step_name(step)));
    EXPECT_FALSE(is_step_name(step_name(step) + std::string(kUnsoundSuffix)));
  }
  EXPECT_EQ(step_name(500), "step-000500");
}

TEST(StepInName, IsANumberOf64Bits) {
  EXPECT_EQ(step_in_name("step-000500"), 500);
  EXPECT_EQ(step_in_name("step-12345678.unsound"), 12345678);
  for (const char* none : {"step-", "step-5x", "step-99999999999999999999", "000500", ""}) {
    EXPECT_EQ(step_in_name(none), std::nullopt) << none;
  }
}

}  // namespace
}  // namespace switchyard::config
