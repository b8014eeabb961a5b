#include "switchyard/ops/thread_waiting.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <thread>
#include <vector>

#include "support/environment_variable.h"
#include "support/tensors.h"
#include "switchyard/core/cores.h"
#include "switchyard/core/host.h"
#include "switchyard/core/parallel.h"
#include "switchyard/ops/backend.h"

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

class WaitingOfAProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    if (all_.size() < 2) GTEST_SKIP() << "one core";
    at::set_num_threads(static_cast<int>(all_.size()));
    install_parallel_backend();
  }
  void TearDown() override {
    set_parallel_backend(nullptr);
    at::set_num_threads(num_threads_);
  }

  static bool computes_on_one_thread() {
    std::atomic<bool> is_one = true;
    const std::thread::id caller = std::this_thread::get_id();
    parallel_for(2, 1, [&](std::int64_t /*begin*/, std::int64_t /*end*/) {
      if (std::this_thread::get_id() != caller || at::get_num_threads() != 1) is_one = false;
    });
    return is_one;
  }

  const std::vector<int> all_ = allowed_cores();

 private:
  int num_threads_ = at::get_num_threads();
};

// From each to each, and back from each at the end.
TEST_F(WaitingOfAProcess, IsAsWasChosenAndAsItWasAtTheEnd) {
  const auto all_waits = {Waiting::spinning, Waiting::sleeping, Waiting::on_fewer_cores,
                          Waiting::on_one_thread};
  const bool has_teams = ::dlsym(RTLD_DEFAULT, "GOMP_parallel") != nullptr;
  (void)testing::random_normal({1000, 1000}, 1, at::kFloat).sum();  // the threads that compute
  const std::int64_t num_threads = num_threads_of_this_process();
  const auto expect = [&](Waiting waiting, const WaitingOfThisProcess& process) {
    const bool is_fewer = waiting == Waiting::on_fewer_cores;
    EXPECT_EQ(process.waiting(), waiting);
    EXPECT_EQ(process.cores().size(), is_fewer ? (all_.size() + 1) / 2 : all_.size());
    EXPECT_EQ(process.cores().size() + process.cores_left().size(), all_.size());
    for (const int core : process.cores_left()) {
      EXPECT_EQ(std::count(process.cores().begin(), process.cores().end(), core), 0);
    }
    EXPECT_EQ(allowed_cores(), process.cores());
    EXPECT_EQ(computes_on_one_thread(), waiting == Waiting::on_one_thread);
    // The thread that holds the team, and one of the team besides.
    if (has_teams) expect_threads(num_threads + (waiting == Waiting::spinning ? 0 : 2));
  };
  for (const Waiting first : all_waits) {
    for (const Waiting second : all_waits) {
      SCOPED_TRACE(::testing::Message() << static_cast<int>(first) << static_cast<int>(second));
      {
        WaitingOfThisProcess process(static_cast<int>(all_.size()), all_, 0);
        process.change_to(first);
        expect(first, process);
        process.change_to(second);
        expect(second, process);
      }
      const WaitingOfThisProcess none(static_cast<int>(all_.size()), all_, 0);
      expect(Waiting::spinning, none);
    }
  }
}

// A core that others hold on to is not the only one.
TEST_F(WaitingOfAProcess, TakesOtherCoresTheNextTime) {
  WaitingOfThisProcess process(static_cast<int>(all_.size()), all_, 1);
  process.change_to(Waiting::on_fewer_cores);
  const std::vector<int> first = process.cores();
  process.change_to(Waiting::on_one_thread);
  process.change_to(Waiting::on_fewer_cores);
  EXPECT_NE(process.cores(), first);
}

// Each takes a core, as long as this lives: any, until it is kept to one.
class OtherProcesses {
 public:
  explicit OtherProcesses(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const pid_t process = ::fork();
      if (process == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (std::atomic<std::uint64_t> n = 0;;) ++n;
      }
      EXPECT_GT(process, 0);
      if (process > 0) processes_.push_back(process);
    }
  }
  OtherProcesses(const OtherProcesses&) = delete;
  OtherProcesses& operator=(const OtherProcesses&) = delete;
  ~OtherProcesses() {
    for (const pid_t process : processes_) {
      ::kill(process, SIGKILL);
      ::waitpid(process, nullptr, 0);
    }
  }

  void keep_each_to_one_of(const std::vector<int>& cores) const {
    for (std::size_t i = 0; i < processes_.size(); ++i) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(cores[i % cores.size()], &set);
      EXPECT_EQ(::sched_setaffinity(processes_[i], sizeof set, &set), 0);
    }
  }

 private:
  std::vector<pid_t> processes_;
};

TEST_F(WaitingOfAProcess, ChangesBesideOthersThatTakeTheCores) {
  if (cores_to_choose_from() != all_) GTEST_SKIP() << "the environment or a driver chose the cores";
  if (!seconds_waiting_for_cores() || !seconds_of_cores(all_)) {
    GTEST_SKIP() << "the system does not tell";
  }
  if (num_available_cores() < static_cast<int>(all_.size())) GTEST_SKIP() << "a quota";
  const testing::EnvironmentVariable policy("OMP_WAIT_POLICY", nullptr);
  const testing::EnvironmentVariable count("GOMP_SPINCOUNT", nullptr);
  // Too few for several threads, of which one is enough where others take the cores.
  const at::Tensor numbers = testing::random_normal({1000}, 1, at::kFloat);
  const auto compute_until = [&](const std::function<bool()>& is_so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!is_so() && std::chrono::steady_clock::now() < end) (void)numbers.sum();
  };
  {
    const OtherProcesses others(2 * all_.size());
    const ThreadWaiting waiting;
    std::vector<int> cores;
    compute_until([&] { return (cores = allowed_cores()) != all_; });
    ASSERT_EQ(cores.size(), (all_.size() + 1) / 2);
    if (all_.size() == 2) {  // of one core that is kept they leave half
      others.keep_each_to_one_of(all_);
      compute_until([] { return computes_on_one_thread(); });
      EXPECT_TRUE(computes_on_one_thread());
      EXPECT_EQ(allowed_cores(), all_);
    }
  }
  EXPECT_FALSE(computes_on_one_thread());
  EXPECT_EQ(allowed_cores(), all_);
}

TEST(ThreadWaiting, LeavesAloneWhatTheEnvironmentChose) {
  const std::int64_t before = num_threads_of_this_process();
  const testing::EnvironmentVariable no_policy("OMP_WAIT_POLICY", nullptr);
  const testing::EnvironmentVariable no_count("GOMP_SPINCOUNT", nullptr);
  {
    const testing::EnvironmentVariable policy("OMP_WAIT_POLICY", "PASSIVE");
    const ThreadWaiting waiting;
    expect_threads(before);
  }
  {
    const testing::EnvironmentVariable count("GOMP_SPINCOUNT", "10000");
    const ThreadWaiting waiting;
    expect_threads(before);
  }
  if (at::get_num_threads() > 1 && std::filesystem::exists("/proc/self/schedstat")) {
    const ThreadWaiting waiting;
    EXPECT_GE(num_threads_of_this_process(), before + 1);
  }
  expect_threads(before);
}

}  // namespace
}  // namespace switchyard::ops
