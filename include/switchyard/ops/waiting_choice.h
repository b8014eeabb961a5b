// Which way threads wait for each other, by what the machine does. A pure function of what was
// seen; thread_waiting.h looks, and does what is chosen.
#pragma once

#include <cstdint>
#include <optional>

#include "switchyard/core/cores.h"

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

// How many of `num_cores` so many threads keep to while others take the rest: half as many as they
// are. 0: all, as where each thread has not one core (a quota, ranks that share cores, a number
// that was chosen), for which the scheduler finds a better place.
[[nodiscard]] int num_fewer_cores(int num_threads, int num_cores);

enum class Waiting {
  spinning,        // as long as OpenMP's library does: cores are not short
  sleeping,        // soon, on any core
  on_fewer_cores,  // sleeping, the other cores left to others
  on_one_thread,   // sleeping, on any core; blocks of parallel_for on the thread that calls
};

// What the system has counted so far, in seconds.
struct SecondsSeen {
  double wall = 0.0;
  double waiting = 0.0;                // of threads of this process, for a core
  double computed = 0.0;               // by this process
  std::optional<CoreSeconds> on_ours;  // on all cores, while its threads use all; none = not told
  std::optional<CoreSeconds> on_left;  // on those that are left to others
  std::int64_t num_left = 0;           // how many these are
};

// Between two looks at the machine, in seconds.
struct LookAtCores {
  double wall = 0.0;
  double waiting = 0.0;    // as CoreShortage counts it
  double computed = 0.0;   // by this process
  double others = 0.0;     // that other processes computed, while ours use all cores
  double left_idle = 0.0;  // of a core that is left to others, on average
};
// Of the same cores. Where the system does not tell of them, others do nothing.
[[nodiscard]] LookAtCores difference(const SecondsSeen& before, const SecondsSeen& now);

// Chooses by what the looks saw. Threads sleep while cores are short. They keep to fewer of them
// from when others would fill what is left to them until these no longer do (meanwhile waiting is
// each other's fault). Where others take those cores as well, from threads that mostly follow each
// other, blocks take one thread, until others would not fill what was left to them, either; fewer
// cores, other ones, are tried again after a while.
class WaitingChoice {
 public:
  // Shares of the cores that are left to others, when others compute for more or less than that.
  static constexpr double kTakenAbove = 0.6;
  static constexpr double kTakenBelow = 0.4;
  // In so many looks together. Threads *want* a core while they compute or wait for one.
  static constexpr double kGetBelow = 0.62;   // of what they want they get, beside others
  static constexpr double kWantBelow = 1.45;  // cores, of threads that mostly follow each other
  static constexpr int kLooksUntilShared = 5;
  static constexpr int kLooksUntilNextTry = 100;

  // `num_fewer` of `num_cores` can be kept to; 0: never.
  WaitingChoice(int num_cores, int num_fewer)
      : num_left_(num_cores - num_fewer), num_fewer_(num_fewer) {}
  Waiting add(const LookAtCores& look);

 private:
  int num_left_;
  int num_fewer_;
  CoreShortage shortage_;
  Waiting chosen_ = Waiting::spinning;
  struct {
    int num_looks = 0;
    double wall = 0.0;
    double computed = 0.0;
    double waiting = 0.0;
  } kept_;  // on fewer cores, since these were last judged
  int num_looks_until_next_try_ = 0;
};

}  // namespace switchyard::ops
