#include "switchyard/ops/thread_waiting.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <system_error>

#include "switchyard/core/host.h"
#include "switchyard/core/process.h"
#include "switchyard/ops/backend.h"

namespace switchyard::ops {
namespace {

using Clock = std::chrono::steady_clock;

// Looking costs some microseconds for every thread of the process.
constexpr auto kBetweenLooks = std::chrono::milliseconds(200);
constexpr auto kMoreForEachThread = std::chrono::milliseconds(4);

// Of libgomp's interface to compiled code: `function(data)` on so many threads.
using GompParallel = void (*)(void (*function)(void*), void* data, unsigned num_threads,
                              unsigned flags);

GompParallel gomp_parallel() {
  return reinterpret_cast<GompParallel>(::dlsym(RTLD_DEFAULT, "GOMP_parallel"));
}

// As libgomp counts them: without the quota of a cgroup.
int num_cores_of_openmp() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

}  // namespace

bool CoreShortage::add(double wall_seconds, double waiting_seconds) {
  if (wall_seconds <= 0.0) return short_;
  const double share = waiting_seconds / wall_seconds;
  const bool is_above = share > kShortAbove;
  if (is_above && was_above_) short_ = true;
  was_above_ = is_above;
  num_looks_with_enough_ = share < kEnoughBelow ? num_looks_with_enough_ + 1 : 0;
  if (num_looks_with_enough_ >= kLooksUntilEnough) short_ = false;
  return short_;
}

SleepingWaits::SleepingWaits(int num_threads) {
  const GompParallel parallel = gomp_parallel();
  // The thread that begins a team counts among the threads of the program already.
  const int num_missing = num_cores_of_openmp() + 1 - num_threads;
  if (parallel == nullptr || num_missing <= 0) return;
  const auto team = static_cast<unsigned>(num_missing + 1);
  try {
    check_that_threads_start(num_missing + 1);  // OpenMP ends the process when one does not
    thread_ = std::thread([this, parallel, team] {
      take_no_signals();
      parallel([](void* /*data*/) {}, nullptr, team, 0);
      std::unique_lock lock(mutex_);
      holds_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return ends_; });
    });
  } catch (const std::system_error&) {
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return holds_; });
}

SleepingWaits::~SleepingWaits() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

ThreadWaiting::ThreadWaiting() {
  const int num_threads = at::get_num_threads();
  const auto is_set = [](const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr && *value != '\0';
  };
  const bool is_chosen = is_set("OMP_WAIT_POLICY") || is_set("GOMP_SPINCOUNT");
  if (is_chosen || num_threads < 2 || !seconds_waiting_for_cores()) return;
  thread_ = std::jthread([this, num_threads](const std::stop_token& stop) {
    take_no_signals();
    watch(stop, num_threads);
  });
}

void ThreadWaiting::watch(const std::stop_token& stop, int num_threads) {
  CoreShortage shortage;
  std::optional<SleepingWaits> sleeping;
  double waited = seconds_waiting_for_cores().value_or(0.0);
  Clock::time_point looked = Clock::now();
  std::unique_lock lock(mutex_);
  const auto between = kBetweenLooks + num_threads * kMoreForEachThread;
  while (!stopped_.wait_for(lock, stop, between, [&] { return stop.stop_requested(); })) {
    const double waited_now = seconds_waiting_for_cores().value_or(waited);
    const Clock::time_point now = Clock::now();
    // Threads that ended took their seconds with them.
    const double waiting = std::max(0.0, waited_now - waited);
    const bool is_short =
        shortage.add(std::chrono::duration<double>(now - looked).count(), waiting);
    waited = waited_now;
    looked = now;
    if (is_short && !sleeping) sleeping.emplace(num_threads);
    if (!is_short) sleeping.reset();
  }
}

}  // namespace switchyard::ops
