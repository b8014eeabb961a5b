#include "switchyard/core/exit_code.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <system_error>

#include "switchyard/core/error.h"
#include "switchyard/core/terminal.h"

namespace switchyard {
namespace {

TEST(ExitCode, FollowsTheTypeOfTheError) {
  EXPECT_EQ(exit_code_of(UsageError("")), 2);
  EXPECT_EQ(exit_code_of(DataError("")), 65);
  EXPECT_EQ(exit_code_of(InternalError("")), 70);
  EXPECT_EQ(exit_code_of(OutOfMemoryError("")), 71);
  EXPECT_EQ(exit_code_of(StorageError("")), 74);
  EXPECT_EQ(exit_code_of(PreemptedError("")), 75);
  EXPECT_EQ(exit_code_of(NonFiniteError("")), 76);
  EXPECT_EQ(exit_code_of(PeerError("")), 77);
}

TEST(ExitCode, ForeignErrorsAreInternal) {
  EXPECT_EQ(exit_code_of(std::runtime_error("")), 70);
}

TEST(ExitCode, MemoryThatRanOutIsNoInternalErrorAndIsSaidInWords) {
  EXPECT_EQ(exit_code_of(std::bad_alloc()), 71);
  testing::internal::CaptureStderr();
  EXPECT_EQ(report_error(std::bad_alloc(), false), 71);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "switchyard: error: memory ran out\n");
}

TEST(ExitCode, AThreadOrAContainerThatCannotBeIsMemoryThatRanOut) {
  const std::system_error thread(std::make_error_code(std::errc::resource_unavailable_try_again));
  EXPECT_EQ(exit_code_of(thread), 71);
  EXPECT_EQ(exit_code_of(std::length_error("vector::_M_default_append")), 71);
  const auto memory = std::make_error_code(std::errc::not_enough_memory);
  EXPECT_EQ(exit_code_of(std::filesystem::filesystem_error("cannot open", memory)), 71);
  testing::internal::CaptureStderr();
  EXPECT_EQ(report_error(thread, false), 71);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "switchyard: error: a thread could not be started: memory or the number of processes "
            "is limited\n");
}

TEST(ExitCode, AFileSystemThatRefusesIsNoInternalError) {
  const auto code = std::make_error_code(std::errc::too_many_files_open);
  EXPECT_EQ(exit_code_of(std::filesystem::filesystem_error("cannot open", code)), 74);
}

TEST(ExitCode, WhatAFileSystemRefusesIsSaidWithoutTheLibrarysNameForTheCall) {
  using std::filesystem::filesystem_error;
  const auto code = std::make_error_code(std::errc::filename_too_long);
  EXPECT_EQ(words_of(filesystem_error("status", "a\nb", code)),
            "cannot use a\\x0ab: File name too long");
  EXPECT_EQ(words_of(filesystem_error("cannot rename", "a", "b", code)),
            "cannot use a or b: File name too long");
  EXPECT_EQ(words_of(filesystem_error("current_path", code)),
            "cannot use a file: File name too long");
}

TEST(ReportError, PrintsEveryLineAsAnErrorAndTheHint) {
  if (stderr_is_terminal()) GTEST_SKIP() << "standard error is a terminal";
  testing::internal::CaptureStderr();
  EXPECT_EQ(report_error(UsageError("first\nsecond", "do this"), false), 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "switchyard: error: first\nswitchyard: error: second\n  hint: do this\n");
}

TEST(ReportError, PreemptionIsAMessage) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(report_error(PreemptedError("saved step 12", "resume with ..."), false), 75);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "saved step 12\n  hint: resume with ...\n");
}

}  // namespace
}  // namespace switchyard
