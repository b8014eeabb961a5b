#include "switchyard/core/cores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>

#include "support/temporary_folder.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Cores, WhatTheyDidIsReadOfThoseAskedFor) {
  const testing::TemporaryFolder folder;
  const auto stat = folder / "stat";
  std::ofstream(stat) << "cpu  900 900 900 900 900 900 900 0 0 0\n"
                         "cpu0 100 200 300 4000 500 10 20 7777 0 0\n"
                         "cpu1 1 1 1 1 1 1 1 1 1 1\n"
                         "cpu12 1000 0 0 100 0 0 0 0 0 0\n"
                         "intr 5\n";
  const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto seconds = seconds_of_cores({0, 12}, stat);
  ASSERT_TRUE(seconds.has_value());
  EXPECT_DOUBLE_EQ(seconds->busy, 1630.0 / ticks) << "not what the host stole";
  EXPECT_DOUBLE_EQ(seconds->idle, 4600.0 / ticks);
  EXPECT_FALSE(seconds_of_cores({0, 3}, stat).has_value()) << "core 3 is not told of";
  EXPECT_FALSE(seconds_of_cores({}, stat).has_value());
  EXPECT_FALSE(seconds_of_cores({0}, folder / "none").has_value());
  std::ofstream(stat) << "cpu0 1 x\n";
  EXPECT_FALSE(seconds_of_cores({0}, stat).has_value());
}

TEST(Cores, AreChosenEvenlyAndOthersTheNextTime) {
  EXPECT_THAT(choose_cores({0, 1}, 1, 0), ElementsAre(0));
  EXPECT_THAT(choose_cores({0, 1}, 1, 1), ElementsAre(1));
  EXPECT_THAT(choose_cores({2, 3, 8, 9}, 2, 0), ElementsAre(2, 8));
  EXPECT_THAT(choose_cores({2, 3, 8, 9}, 2, 1), ElementsAre(3, 9));
  EXPECT_THAT(choose_cores({2, 3, 8, 9}, 2, 3), ElementsAre(3, 9)) << "round the end";
  EXPECT_THAT(choose_cores({0, 1, 2}, 2, 0), ElementsAre(0, 1));
  EXPECT_THAT(choose_cores({4}, 3, 7), ElementsAre(4));
  EXPECT_THAT(choose_cores({}, 1, 0), IsEmpty());
}

TEST(Cores, ThreadsKeepToSomeAndGetAllBack) {
  const std::vector<int> all = allowed_cores();
  if (all.size() < 2) GTEST_SKIP() << "one core";
  const std::vector<int> ours = {all.front()};
  std::mutex mutex;
  std::condition_variable changed;
  int stage = 0;
  std::vector<std::vector<int>> seen(2);
  // One that is free, and one that somebody has bound.
  const auto watch = [&](std::size_t which) {
    if (which == 1) {
      cpu_set_t bound;
      CPU_ZERO(&bound);
      CPU_SET(all.back(), &bound);
      ASSERT_EQ(::sched_setaffinity(0, sizeof bound, &bound), 0);
    }
    std::unique_lock lock(mutex);
    ++stage;
    changed.notify_all();
    changed.wait(lock, [&] { return stage == 3; });
    seen[which] = allowed_cores();
    changed.notify_all();
  };
  std::thread free(watch, 0);
  std::thread bound(watch, 1);
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return stage == 2; });
    const KeptToCores kept(ours);
    EXPECT_EQ(allowed_cores(), ours);
    std::vector<int> of_new;
    std::thread([&of_new] { of_new = allowed_cores(); }).join();
    EXPECT_EQ(of_new, ours);
    stage = 3;
    changed.notify_all();
    changed.wait(lock, [&] { return !seen[0].empty() && !seen[1].empty(); });
    EXPECT_EQ(seen[0], ours);
    EXPECT_THAT(seen[1], ElementsAre(all.back()));
  }
  free.join();
  bound.join();
  EXPECT_EQ(allowed_cores(), all);
}

TEST(Cores, TimeOfTheProcessGoesOn) {
  const double before = seconds_computed();
  double sum = 0.0;
  while (seconds_computed() <= before) sum += 1.0;
  EXPECT_GT(seconds_computed(), before) << sum;
}

}  // namespace
}  // namespace switchyard
