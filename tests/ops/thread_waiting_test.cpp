#include "switchyard/ops/thread_waiting.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>

#include "support/tensors.h"
#include "switchyard/core/cores.h"

namespace switchyard::ops {
namespace {

std::int64_t num_threads_of_this_process() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
}

// Threads may take a moment to be gone.
void expect_threads(std::int64_t expected) {
  for (int tries = 0; tries < 10'000 && num_threads_of_this_process() != expected; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(num_threads_of_this_process(), expected);
}

int num_cores() {
  return static_cast<int>(allowed_cores().size());
}

TEST(CoreShortage, BeginsWhenItLastsAndEndsWhenThereWereEnoughForAWhile) {
  CoreShortage shortage;
  EXPECT_FALSE(shortage.add(0.2, 0.0));
  EXPECT_FALSE(shortage.add(0.2, 0.02)) << "a tenth of a core: what any machine does beside";
  EXPECT_FALSE(shortage.add(0.2, 0.1)) << "a moment";
  EXPECT_FALSE(shortage.add(0.2, 0.0));
  EXPECT_FALSE(shortage.add(0.2, 0.1));
  EXPECT_TRUE(shortage.add(0.2, 0.1));
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) EXPECT_TRUE(shortage.add(0.2, 0.0));
  EXPECT_TRUE(shortage.add(0.2, 0.01)) << "not quite enough: counts anew";
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) EXPECT_TRUE(shortage.add(0.2, 0.001));
  EXPECT_FALSE(shortage.add(0.2, 0.0));
  EXPECT_FALSE(shortage.add(0.0, 1.0)) << "no time has passed";
}

TEST(WaitingChoice, FewerCoresAreForWhenOthersTakeThem) {
  const LookAtCores waits{.wall = 0.2, .waiting = 0.1};
  WaitingChoice alone(1);
  for (int i = 0; i < 3; ++i) alone.add(waits);
  EXPECT_TRUE(alone.sleep());
  EXPECT_FALSE(alone.use_fewer_cores()) << "its own threads are in each other's way";

  LookAtCores beside = waits;
  beside.others = 0.15;
  WaitingChoice choice(1);
  choice.add(beside);
  EXPECT_FALSE(choice.use_fewer_cores()) << "a moment";
  choice.add(beside);
  EXPECT_TRUE(choice.sleep());
  EXPECT_TRUE(choice.use_fewer_cores());
  // On fewer cores the threads wait for each other; what counts is what the others do.
  const LookAtCores still{.wall = 0.2, .left_idle = 0.11};
  for (int i = 0; i < 20; ++i) choice.add(still);
  EXPECT_TRUE(choice.use_fewer_cores());
  const LookAtCores gone{.wall = 0.2, .waiting = 0.2, .left_idle = 0.13};
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) choice.add(gone);
  EXPECT_TRUE(choice.use_fewer_cores());
  choice.add(gone);
  EXPECT_FALSE(choice.use_fewer_cores());
  EXPECT_FALSE(choice.sleep());
}

// What makes it keep to fewer cores must not, there, be a reason to give them up.
TEST(WaitingChoice, DoesNotComeAndGoWhateverOthersTake) {
  for (const int num_cores : {2, 3, 8, 64}) {
    const int num_fewer = num_fewer_cores(num_cores, num_cores);
    ASSERT_EQ(num_fewer, (num_cores + 1) / 2);
    const int num_left = num_cores - num_fewer;
    for (double others = 0.0; others <= 2.0 * num_left; others += 0.05) {
      WaitingChoice choice(num_left);
      int num_changes = 0;
      for (int look = 0; look < 100; ++look) {
        const bool before = choice.use_fewer_cores();
        // Among all they get half of what they want beside ours; alone on what is left, all.
        const double takes = before ? others : others / 1.5;
        choice.add({.wall = 0.2,
                    .waiting = 0.1,
                    .others = 0.2 * takes,
                    .left_idle = 0.2 * std::max(0.0, 1.0 - takes / num_left)});
        num_changes += choice.use_fewer_cores() != before ? 1 : 0;
      }
      EXPECT_LE(num_changes, 1) << others << " of " << num_cores;
      EXPECT_EQ(choice.use_fewer_cores(), others / 1.5 > WaitingChoice::kTakenAbove * num_left);
    }
  }
}

TEST(WaitingChoice, FewerCoresOnlyWhereEachThreadHasOne) {
  EXPECT_EQ(num_fewer_cores(2, 2), 1);
  EXPECT_EQ(num_fewer_cores(3, 3), 2);
  EXPECT_EQ(num_fewer_cores(64, 64), 32);
  EXPECT_EQ(num_fewer_cores(1, 1), 0);
  EXPECT_EQ(num_fewer_cores(4, 64), 0) << "a quota, or a number that was chosen";
  EXPECT_EQ(num_fewer_cores(4, 2), 0);
  EXPECT_EQ(num_fewer_cores(2, 0), 0) << "the system does not tell";
  WaitingChoice none(0);
  for (int i = 0; i < 10; ++i) none.add({.wall = 0.2, .waiting = 0.2, .others = 0.4});
  EXPECT_TRUE(none.sleep());
  EXPECT_FALSE(none.use_fewer_cores());
}

TEST(SleepingWaits, HoldMoreThreadsThanThereAreCores) {
  if (::dlsym(RTLD_DEFAULT, "GOMP_parallel") == nullptr) GTEST_SKIP() << "no libgomp";
  const int num_threads = at::get_num_threads();
  (void)testing::random_normal({1000, 1000}, 1, at::kFloat).sum();  // the threads that compute
  const std::int64_t before = num_threads_of_this_process();
  for (int round = 0; round < 3; ++round) {
    expect_threads(before);
    const SleepingWaits waits(num_threads);
    ASSERT_EQ(waits.works(), num_threads <= num_cores());
    if (!waits.works()) continue;
    // One of the team began it and is none of OpenMP's own.
    expect_threads(before + 1 + num_cores() + 1 - num_threads);
  }
  expect_threads(before);
}

TEST(ThreadWaiting, LeavesAloneWhatTheEnvironmentChose) {
  const std::int64_t before = num_threads_of_this_process();
  const char* const policy = std::getenv("OMP_WAIT_POLICY");
  const std::string kept = policy == nullptr ? "" : policy;
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
  {
    const ThreadWaiting waiting;
    expect_threads(before);
  }
  ::unsetenv("OMP_WAIT_POLICY");
  ::setenv("GOMP_SPINCOUNT", "10000", 1);
  {
    const ThreadWaiting waiting;
    expect_threads(before);
  }
  ::unsetenv("GOMP_SPINCOUNT");
  if (at::get_num_threads() > 1 && std::filesystem::exists("/proc/self/schedstat")) {
    const ThreadWaiting waiting;
    EXPECT_GE(num_threads_of_this_process(), before + 1);
  }
  expect_threads(before);
  if (policy != nullptr) ::setenv("OMP_WAIT_POLICY", kept.c_str(), 1);
}

}  // namespace
}  // namespace switchyard::ops
