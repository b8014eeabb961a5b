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
// queue between. The system may leave another process beside them all the same: of threads that
// mostly follow each other few want a core at a time, and to it they are no more than one process.
// Then they take any core again, and who calls parallel_for computes its blocks, so that small work
// has no queues to wait in. The number of threads stays, and with it every bit.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "switchyard/core/cores.h"
#include "switchyard/ops/waiting_choice.h"

namespace switchyard::ops {

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

// That threads may be kept to some of. Empty where the environment chose them (OMP_PROC_BIND,
// OMP_PLACES, GOMP_CPU_AFFINITY) or NVIDIA's driver is loaded, whose libraries bind threads of
// their own.
[[nodiscard]] std::vector<int> cores_to_choose_from();

// What was chosen, done to this process, whose blocks are on all threads; undone when it goes. One
// at a time.
class WaitingOfThisProcess {
 public:
  // `num_threads`: those that compute. `cores`: see cores_to_choose_from. Programs that begin
  // together should begin with other turns.
  WaitingOfThisProcess(int num_threads, const std::vector<int>& cores, std::int64_t turn);
  WaitingOfThisProcess(const WaitingOfThisProcess&) = delete;
  WaitingOfThisProcess& operator=(const WaitingOfThisProcess&) = delete;
  ~WaitingOfThisProcess() { change_to(Waiting::spinning); }

  void change_to(Waiting waiting);  // on_fewer_cores: only where num_fewer() > 0
  [[nodiscard]] Waiting waiting() const { return waiting_; }

  [[nodiscard]] int num_cores() const { return static_cast<int>(all_cores_.size()); }
  [[nodiscard]] int num_fewer() const { return num_fewer_cores(num_threads_, num_cores()); }
  [[nodiscard]] const std::vector<int>& cores() const { return cores_; }
  [[nodiscard]] const std::vector<int>& cores_left() const { return cores_left_; }  // to others

 private:
  int num_threads_;
  std::vector<int> all_cores_;
  std::int64_t turn_;
  Waiting waiting_ = Waiting::spinning;
  std::vector<int> cores_;
  std::vector<int> cores_left_;
  std::optional<SleepingWaits> sleeping_;
  std::optional<KeptToCores> kept_;
};

// Looks up to five times a second, from a thread of its own, whether cores are short, and chooses.
// For the whole program, after set_up_threads. It leaves alone what OMP_WAIT_POLICY or
// GOMP_SPINCOUNT chose, a single thread, and systems that do not tell how long threads wait.
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
