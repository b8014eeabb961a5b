#include "switchyard/ops/thread_waiting.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>

#include "support/tensors.h"

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
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
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
  const WaitingChoice::Look waits{.wall_seconds = 0.2, .waiting_seconds = 0.1};
  WaitingChoice alone;
  for (int i = 0; i < 3; ++i) alone.add(waits);
  EXPECT_TRUE(alone.sleep());
  EXPECT_FALSE(alone.use_fewer_cores()) << "its own threads are in each other's way";

  WaitingChoice::Look beside = waits;
  beside.others_seconds = 0.1;
  WaitingChoice choice;
  choice.add(beside);
  EXPECT_FALSE(choice.use_fewer_cores()) << "a moment";
  choice.add(beside);
  EXPECT_TRUE(choice.sleep());
  EXPECT_TRUE(choice.use_fewer_cores());
  // On fewer cores the threads wait for each other; what counts is what the others do.
  const WaitingChoice::Look still{.wall_seconds = 0.2, .left_idle_seconds = 0.05};
  for (int i = 0; i < 20; ++i) choice.add(still);
  EXPECT_TRUE(choice.use_fewer_cores());
  const WaitingChoice::Look gone{
      .wall_seconds = 0.2, .waiting_seconds = 0.2, .left_idle_seconds = 0.19};
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) choice.add(gone);
  EXPECT_TRUE(choice.use_fewer_cores());
  choice.add(gone);
  EXPECT_FALSE(choice.use_fewer_cores());
  EXPECT_FALSE(choice.sleep());
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
