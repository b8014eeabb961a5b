#include "switchyard/core/cores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <ctime>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/core/host.h"

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
  const double nice = 200.0;  // makes way, unless this test was started to be nice itself
  const bool is_nice = ::getpriority(PRIO_PROCESS, 0) > 0;
  EXPECT_DOUBLE_EQ(seconds->busy, (1430.0 + (is_nice ? nice : 0.0)) / ticks)
      << "not what the host stole";
  EXPECT_DOUBLE_EQ(seconds->idle, (4600.0 + (is_nice ? 0.0 : nice)) / ticks);
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
  // Of one that is free, one that somebody has bound, and one that a library puts on a core that is
  // kept to while it is so; before, meanwhile and afterwards.
  std::vector<std::vector<std::vector<int>>> seen(3);
  const auto bind = [](int core) {
    cpu_set_t bound;
    CPU_ZERO(&bound);
    CPU_SET(core, &bound);
    ASSERT_EQ(::sched_setaffinity(0, sizeof bound, &bound), 0);
  };
  const auto watch = [&](std::size_t which) {
    if (which == 1) bind(all.back());
    for (int look = 0; look < 3; ++look) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return stage == look; });
      if (which == 2 && look == 1) bind(all.front());
      seen[which].push_back(allowed_cores());
      changed.notify_all();
    }
  };
  const auto let_look = [&](int look) {
    std::unique_lock lock(mutex);
    stage = look;
    changed.notify_all();
    const auto number = static_cast<std::size_t>(look) + 1;
    changed.wait(lock, [&] {
      return std::all_of(seen.begin(), seen.end(),
                         [&](const auto& of_one) { return of_one.size() == number; });
    });
  };
  std::vector<std::thread> threads;
  for (std::size_t which = 0; which < seen.size(); ++which) threads.emplace_back(watch, which);
  let_look(0);
  EXPECT_EQ(num_cores_before_kept(), 0);
  {
    const KeptToCores kept(ours);
    EXPECT_EQ(allowed_cores(), ours);
    EXPECT_EQ(num_cores_before_kept(), static_cast<int>(all.size()));
    EXPECT_EQ(read_host_facts().num_allowed_threads, static_cast<int>(all.size()));
    std::vector<int> of_new;
    std::thread([&of_new] { of_new = allowed_cores(); }).join();
    EXPECT_EQ(of_new, ours);
    let_look(1);
  }
  let_look(2);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allowed_cores(), all);
  EXPECT_EQ(num_cores_before_kept(), 0);
  const std::vector<int> bound = {all.back()};
  EXPECT_THAT(seen[0], ElementsAre(all, ours, all));
  EXPECT_THAT(seen[1], ElementsAre(bound, bound, bound));
  EXPECT_THAT(seen[2], ElementsAre(all, ours, all));
}

TEST(Cores, TimeOfTheProcessIsThatOfItsThreads) {
  const double before = seconds_computed();
  double burnt = 0.0;
  std::thread([&burnt] {
    timespec now{};
    while (burnt < 0.02) {
      ASSERT_EQ(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
      burnt = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    }
  }).join();
  EXPECT_GE(seconds_computed() - before, 0.02);
}

}  // namespace
}  // namespace switchyard
