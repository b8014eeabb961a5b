// How the threads that compute wait for each other. Spinning is fast where every thread has a core;
// on a machine that others use too it burns the very core that the awaited thread needs, and makes
// training ten times slower. OpenMP's library reads once, at the start, which of the two it shall
// do, and a machine gets busy later. It sleeps instead of spinning, however, while a process has
// more threads of OpenMP than cores: so a team of idle threads, held while cores are short, is the
// switch.
//
// Threads that sleep still wait for each other: each stands in the queue of its core behind the
// other processes, several hundred times a step, and the slowest counts. So when others take about
// half of the cores, the threads keep to the other half, where they follow each other without a
// queue between. Their number stays, and with it every bit.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace switchyard::ops {

// Decides by how long threads that could have run waited for a core.
class CoreShortage {
 public:
  static constexpr double kShortAbove = 0.3;  // cores, over each of two looks in a row
  static constexpr double kEnoughBelow = 0.03;
  static constexpr int kLooksUntilEnough = 5;

  // In the last `wall_seconds` the threads of this process waited `waiting_seconds` in all. True
  // while cores are short: from the second look in a row above kShortAbove until kLooksUntilEnough
  // in a row were below kEnoughBelow.
  bool add(double wall_seconds, double waiting_seconds);

 private:
  bool short_ = false;
  bool was_above_ = false;  // at the last look
  int num_looks_with_enough_ = 0;
};

// While it lives, the threads of OpenMP sleep soon when they wait: holds a team of its own, whose
// threads sleep, with which there are more than cores. Does nothing where that is impossible (an
// OpenMP without GOMP_parallel, a system that refuses threads) or the case anyway.
class SleepingWaits {
 public:
  // `num_threads`: those that compute.
  explicit SleepingWaits(int num_threads);
  SleepingWaits(const SleepingWaits&) = delete;
  SleepingWaits& operator=(const SleepingWaits&) = delete;
  ~SleepingWaits();

  [[nodiscard]] bool works() const { return thread_.joinable(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool holds_ = false;
  bool ends_ = false;
  std::thread thread_;  // a team goes away with the thread that began it
};

// How many of `num_cores` so many threads keep to while others take the rest: half as many as they
// are. 0: all, as where each thread has not one core (a quota, ranks that share cores, a number
// that was chosen), for which the scheduler finds a better place.
[[nodiscard]] int num_fewer_cores(int num_threads, int num_cores);

// Between two looks at the machine, in seconds.
struct LookAtCores {
  double wall = 0.0;
  double waiting = 0.0;    // as CoreShortage counts it
  double others = 0.0;     // that other processes computed on our cores; 0 = cannot be told
  double left_idle = 0.0;  // of a core that is left to others, on average
};

// Chooses by what the looks saw.
class WaitingChoice {
 public:
  // Shares of the cores that are left to others, when others compute for more or less than that.
  static constexpr double kTakenAbove = 0.6;
  static constexpr double kTakenBelow = 0.4;

  // `num_left`: cores that would be left to others; 0: none can be.
  explicit WaitingChoice(int num_left) : num_left_(num_left) {}
  void add(const LookAtCores& look);

  // Threads sleep while cores are short, and keep to fewer of them from when others would fill what
  // is left to them until these no longer do (meanwhile waiting is each other's fault).
  [[nodiscard]] bool sleep() const { return sleep_; }
  [[nodiscard]] bool use_fewer_cores() const { return fewer_; }

 private:
  int num_left_;
  CoreShortage shortage_;
  bool sleep_ = false;
  bool fewer_ = false;
};

// Looks five times a second, from a thread of its own, whether cores are short, and chooses. For
// the whole program, after set_up_threads. It leaves alone what OMP_WAIT_POLICY or GOMP_SPINCOUNT
// chose, a single thread, and systems that do not tell how long threads wait; and cores, where
// OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY chose them, or NVIDIA's driver is loaded, whose
// libraries bind threads of their own.
class ThreadWaiting {
 public:
  ThreadWaiting();
  ThreadWaiting(const ThreadWaiting&) = delete;
  ThreadWaiting& operator=(const ThreadWaiting&) = delete;
  ~ThreadWaiting() = default;

 private:
  void watch(const std::stop_token& stop, int num_threads);

  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace switchyard::ops
