// What becomes of a run when one rank dies, hangs, fails or makes a mistake, at every kind of
// collective: all ranks end, soon, with the right code, and say which rank and where.
// tests/support/rank_faults.cpp has the engine that does it on purpose.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "cli/mpi/launched.h"

namespace switchyard {
namespace {

using std::chrono::seconds;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;

constexpr int kNumRanks = 2;
// With as many ranks as there are to an expert group nothing is split.
const char* const kOperations[] = {"all_reduce_sum", "reduce_scatter_sum", "all_gather",
                                   "all_to_all",     "broadcast",          "barrier"};

class FaultyRanks : public LaunchedRanks {
 protected:
  FaultyRanks() : LaunchedRanks(SWITCHYARD_BINARY_DIR, SWITCHYARD_SOURCE_DIR) {}

  // The front looks for the engine beside itself.
  void SetUp() override {
    LaunchedRanks::SetUp();
    fs::copy_file(program_, folder_ / "switchyard");
    fs::create_symlink(fs::path(SWITCHYARD_BINARY_DIR) / "tests/engine_with_faults",
                       folder_ / "switchyard-engine");
    program_ = folder_ / "switchyard";
  }
  void TearDown() override { ::unsetenv("SWITCHYARD_FAULT"); }

  struct End {
    int code = 0;
    std::string messages;
  };
  // "all_to_all@1:3:kill"
  End run_with(const std::string& fault, const Strings& more = {}) {
    const std::string name = "run" + std::to_string(num_runs_++);
    fs::remove(folder_ / "messages.txt");
    ::setenv("SWITCHYARD_FAULT", fault.c_str(), 1);
    Strings settings{"parallel.expert=2", "parallel.timeout=4", "parallel.start_timeout=4",
                     "train.log_every=1"};
    settings.insert(settings.end(), more.begin(), more.end());
    Program program(program_, launch(name, kNumRanks, settings), folder_ / "messages.txt");
    EXPECT_TRUE(program.ends_within(seconds(60))) << fault << "\n" << messages();
    const int code = program.wait();
    EXPECT_TRUE(ranks_end_within(name, seconds(10))) << fault << " leaves a rank behind";
    return {.code = code, .messages = messages()};
  }

 private:
  int num_runs_ = 0;
};

TEST_F(FaultyRanks, OneThatDiesEndsAllAtAnyCollective) {
  for (int rank = 0; rank < kNumRanks; ++rank) {
    for (const std::string operation : kOperations) {
      const std::string fault = operation + "@" + std::to_string(rank) + ":1:kill";
      const End end = run_with(fault);
      EXPECT_EQ(end.code, 77) << fault << "\n" << end.messages;
      EXPECT_THAT(end.messages, HasSubstr("a rank was ended by signal 9")) << fault;
    }
  }
}

TEST_F(FaultyRanks, OneThatHangsIsNamed) {
  for (const std::string operation : {"all_reduce_sum", "all_to_all", "all_gather"}) {
    const std::string fault = operation + "@1:6:stop";
    const End end = run_with(fault);
    EXPECT_EQ(end.code, 77) << fault << "\n" << end.messages;
    EXPECT_THAT(end.messages, HasSubstr("is not complete after 4 s")) << fault;
    EXPECT_THAT(end.messages, HasSubstr("rank 1 never entered it")) << fault;
    EXPECT_THAT(end.messages, HasSubstr("is stopped")) << fault;
  }
}

// MPI would wait for it for ever.
TEST_F(FaultyRanks, OneThatHangsBeforeItIsConnectedEndsAll) {
  for (const char* fault : {"connect@1:1:stop", "connect@0:1:stop"}) {
    const End end = run_with(fault);
    EXPECT_EQ(end.code, 77) << fault << "\n" << end.messages;
    EXPECT_THAT(end.messages, HasSubstr("the ranks do not find each other")) << fault;
  }
}

TEST_F(FaultyRanks, OneThatDoesNotEndIsWaitedForNoLongerThanTheTimeout) {
  const End end = run_with("disconnect@1:1:stop", {"train.steps=6"});
  EXPECT_EQ(end.code, 77) << end.messages;
  EXPECT_THAT(end.messages, HasSubstr("another rank does not end: all is done"));
  EXPECT_THAT(end.messages, HasSubstr("done: 6 steps"));
}

// Another rank is told that sizes differ, or waits for what never comes.
TEST_F(FaultyRanks, OneThatLeavesACollectiveOutIsNoticed) {
  for (const std::string operation : {"all_reduce_sum", "reduce_scatter_sum", "all_to_all"}) {
    const std::string fault = operation + "@1:4:skip";
    const End end = run_with(fault);
    EXPECT_THAT(end.code, AnyOf(Eq(77), Eq(70), Eq(76))) << fault << "\n" << end.messages;
  }
}

TEST_F(FaultyRanks, OneThatFailsEndsAllWithItsCodeAndSaysWhy) {
  for (const std::string operation : {"all_reduce_sum", "all_to_all", "broadcast"}) {
    for (int rank = 0; rank < kNumRanks; ++rank) {
      const std::string fault = operation + "@" + std::to_string(rank) + ":2:throw";
      const End end = run_with(fault);
      EXPECT_EQ(end.code, 71) << fault << "\n" << end.messages;
      EXPECT_THAT(end.messages, HasSubstr("no memory for " + operation)) << fault;
    }
  }
}

TEST_F(FaultyRanks, OneThatIsLateIsWaitedFor) {
  const End end = run_with("any@1:40:late", {"train.steps=6"});
  EXPECT_EQ(end.code, 0) << end.messages;
}

}  // namespace
}  // namespace switchyard
