#include "train/run/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class RunLockTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string text() { return read_file(folder_ / "run.lock"); }
  void leave(const std::string& text) { std::ofstream(folder_ / "run.lock") << text; }
  // The message of the refusal; empty when the lock could be taken.
  std::string refusal(const RunLock::Options& options = {}) {
    try {
      const RunLock lock(folder_.path(), options);
      return "";
    } catch (const UsageError& error) {
      return error.what();
    }
  }

  testing::TemporaryFolder folder_;
};

TEST_F(RunLockTest, IsOfOneProcessOfThisMachineAtATime) {
  auto lock = std::make_unique<RunLock>(folder_.path());
  EXPECT_THAT(text(), StartsWith(std::to_string(::getpid()) + " "));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("process " + std::to_string(::getpid()) + " on "),
                               HasSubstr("is working in")));
  lock.reset();
  EXPECT_EQ(text(), "") << "a process that ends in order leaves nobody to wonder about";
  EXPECT_EQ(RunLock(folder_.path()).left_by(), "");
}

TEST_F(RunLockTest, OfADeadProcessOfThisMachineIsTakenAtOnce) {
  leave("999999999\n");  // as older versions wrote it
  EXPECT_EQ(RunLock(folder_.path()).left_by(), "999999999");
  { const RunLock lock(folder_.path(), {.machine = "this", .beat = milliseconds(10)}); }
  leave("999999999 host this 17\n");
  const RunLock lock(folder_.path(), {.machine = "this"});
  EXPECT_EQ(lock.left_by(), "999999999");
}

TEST_F(RunLockTest, CountsUp) {
  const RunLock lock(folder_.path(), {.machine = "this", .beat = milliseconds(1)});
  const std::string first = text();
  for (int i = 0; i < 6000 && text() == first; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_NE(text(), first);
}

// A file system may not pass on the locks of other machines; what it passes on is what they write.
TEST_F(RunLockTest, OfALivingProcessElsewhereIsRefused) {
  std::atomic<bool> ends = false;
  std::thread elsewhere([&] {
    for (int beat = 0; !ends; ++beat) {
      write_file_atomically(folder_ / "run.lock",
                            "4711 node3 other " + std::to_string(beat) + "\n");
      std::this_thread::sleep_for(milliseconds(10));
    }
  });
  while (!std::filesystem::exists(folder_ / "run.lock")) std::this_thread::yield();
  EXPECT_THAT(refusal({.machine = "this", .beat = milliseconds(10'000)}),
              HasSubstr("process 4711 on node3 is working in"));
  ends = true;
  elsewhere.join();
}

TEST_F(RunLockTest, OfADeadProcessElsewhereIsTakenAfterAWhile) {
  leave("4711 node3 other 17\n");
  const RunLock lock(folder_.path(), {.machine = "this", .beat = milliseconds(5)});
  EXPECT_EQ(lock.left_by(), "4711 on node3");
  EXPECT_THAT(text(), HasSubstr(" this "));
}

// Another machine took this process for dead: from then on it would write into the other's run.
TEST_F(RunLockTest, WhoLostItEndsAtOnce) {
  EXPECT_EXIT(
      {
        const RunLock lock(folder_.path(), {.machine = "this", .beat = milliseconds(10)});
        write_file_atomically(folder_ / "run.lock", "4711 node3 other 0\n");
        std::this_thread::sleep_for(std::chrono::seconds(60));
      },
      ::testing::ExitedWithCode(74), "process 4711 on node3 took over");
}

// Its name leads to the run of another process then, which is not to end this one.
TEST_F(RunLockTest, KnowsWhenItsFolderWasMovedOrReplaced) {
  const auto run = folder_ / "run";
  fs::create_directory(run);
  const RunLock lock(run, {.machine = "this", .beat = milliseconds(1)});
  EXPECT_TRUE(lock.is_in_place());
  fs::remove(run / "run.lock");
  EXPECT_TRUE(lock.is_in_place()) << "the folder is the same";
  fs::rename(run, folder_ / "moved");
  EXPECT_FALSE(lock.is_in_place());
  fs::create_directory(run);
  write_file_atomically(run / "run.lock", "4711 node3 other 0\n");
  EXPECT_FALSE(lock.is_in_place());
  std::this_thread::sleep_for(milliseconds(50));  // of which a beat would have ended the process
  fs::remove_all(run);
  fs::rename(folder_ / "moved", run);
  EXPECT_TRUE(lock.is_in_place());
}

TEST_F(RunLockTest, WhatIsNoHolderIsNobody) {
  for (const char* odd : {"\n", "x y z 1\n", "\xff\xfe", "12a node other 1"}) {
    leave(odd);
    EXPECT_EQ(RunLock(folder_.path(), {.machine = "this", .beat = milliseconds(5)}).left_by(), "")
        << odd;
  }
}

}  // namespace
}  // namespace switchyard::train
