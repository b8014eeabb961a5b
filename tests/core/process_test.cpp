#include "switchyard/core/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/version.h"

namespace switchyard {
namespace {

TEST(ProcessDeathTest, MemoryThatRunsOutWhereNothingCatchesItEndsWithItsExitCode) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        set_up_process();
        std::thread([] { throw std::bad_alloc(); }).join();
      },
      testing::ExitedWithCode(71), "^switchyard: error: memory ran out\n$");
}

TEST(ProcessDeathTest, AnErrorThatNothingCatchesSaysWhatItWas) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        set_up_process();
        std::thread([] { throw StorageError("the disk is gone"); }).join();
      },
      testing::ExitedWithCode(74), "^switchyard: error: the disk is gone\n$");
}

TEST(ProcessDeathTest, ClosedDescriptorsAreNotHandedToFilesAndLimitsAreNoSignals) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::close(STDIN_FILENO);
        ::close(STDOUT_FILENO);
        set_up_process();
        const int file = ::open("/dev/null", O_WRONLY);
        const bool unwritable = ::write(STDOUT_FILENO, "x", 1) < 0;
        ::raise(SIGXFSZ);
        std::_Exit(file > STDERR_FILENO && unwritable ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(Version, IsTheOneOfTheBuild) {
  const std::string build = read_file(std::string(SWITCHYARD_SOURCE_DIR) + "/CMakeLists.txt");
  EXPECT_THAT(build,
              testing::HasSubstr("project(switchyard VERSION " + std::string(kVersion) + " "));
}

}  // namespace
}  // namespace switchyard
