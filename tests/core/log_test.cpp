#include "switchyard/core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/terminal.h"

namespace switchyard {
namespace {

using ::testing::MatchesRegex;

TEST(Log, MessagesGoToStandardErrorWithTheirLevel) {
  if (stderr_is_terminal()) GTEST_SKIP() << "standard error is a terminal";
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  log::info("{} tokens", 12);
  log::warning("low on {}", "space");
  log::error("stopped");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "12 tokens\nswitchyard: warning: low on space\nswitchyard: error: stopped\n");
}

TEST(Log, BracesInAMessageAreText) {
  ::testing::internal::CaptureStderr();
  log::write_info("{not a field} %v");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "{not a field} %v\n");
}

TEST(Log, ForeignBytesCannotDriveATerminalAndLinesStayLines) {
  ::testing::internal::CaptureStderr();
  log::info("cannot read {}", "a\033[2J\xff");
  log::info("a sample:\n\tof two lines");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "cannot read a\\x1b[2J\\xff\na sample:\n\tof two lines\n");
}

TEST(Log, FileReceivesMessagesWithTimeAndLevel) {
  const std::filesystem::path path = ::testing::TempDir() + "switchyard_log.txt";
  std::filesystem::remove(path);
  const log::LogFile file(path);
  ::testing::internal::CaptureStderr();
  log::warning("kept");
  (void)::testing::internal::GetCapturedStderr();
  EXPECT_THAT(read_file(path), MatchesRegex("[0-9]+-[0-9]+-[0-9]+ .*warning: kept\n"));
}

TEST(Log, WriteToFileLeavesStandardErrorAlone) {
  const std::filesystem::path path = ::testing::TempDir() + "switchyard_file_only.txt";
  std::filesystem::remove(path);
  const log::LogFile file(path);
  ::testing::internal::CaptureStderr();
  log::write_to_file("step {1}");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(read_file(path), MatchesRegex("[0-9]+-[0-9]+-[0-9]+ .*info: step .1.\n"));
}

TEST(Log, AFileEndsWithWhatItBelongsToAndOutlivesAnError) {
  const testing::TemporaryFolder folder;
  ::testing::internal::CaptureStderr();
  const log::LogFile outer(folder / "outer.txt");
  {
    const log::LogFile inner(folder / "inner.txt");
    log::info("inside");
  }
  log::info("behind");
  try {
    const log::LogFile failing(folder / "failing.txt");
    throw StorageError("the disk went away");
  } catch (const StorageError& error) {
    log::error("{}", error.what());
  }
  (void)::testing::internal::GetCapturedStderr();
  EXPECT_THAT(read_file(folder / "inner.txt"), MatchesRegex("[^\n]*info: inside\n"));
  EXPECT_THAT(read_file(folder / "outer.txt"),
              MatchesRegex("[^\n]*inside\n[^\n]*behind\n[^\n]*went away\n"));
  EXPECT_THAT(read_file(folder / "failing.txt"), MatchesRegex("[^\n]*error: the disk went away\n"));
}

TEST(Log, UnwritableFileIsAStorageError) {
  EXPECT_THROW(log::LogFile("/dev/null/log.txt"), StorageError);
}

}  // namespace
}  // namespace switchyard
