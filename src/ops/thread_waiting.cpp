#include "switchyard/ops/thread_waiting.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <optional>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/core/cores.h"
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

bool is_set(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

// Empty where the choice is not ours.
std::vector<int> cores_to_choose_from() {
  for (const char* const name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}) {
    if (is_set(name)) return {};
  }
  std::error_code error;
  if (std::filesystem::exists("/proc/driver/nvidia", error)) return {};
  return allowed_cores();
}

struct FewerCores {
  FewerCores(const std::vector<int>& all, const std::vector<int>& ours) : kept(ours) {
    std::set_difference(all.begin(), all.end(), ours.begin(), ours.end(), std::back_inserter(left));
  }
  std::vector<int> left;  // to others
  KeptToCores kept;
};

// What the system counts, on `cores` where it counts by core.
struct Seen {
  explicit Seen(std::vector<int> of)
      : time(Clock::now()),
        waited(seconds_waiting_for_cores().value_or(0.0)),
        computed(seconds_computed()),
        cores(std::move(of)),
        on_cores(seconds_of_cores(cores)) {}

  Clock::time_point time;
  double waited;
  double computed;
  std::vector<int> cores;
  std::optional<CoreSeconds> on_cores;
};

// `before` and `now`: of the same cores.
LookAtCores difference(const Seen& before, const Seen& now) {
  LookAtCores look;
  look.wall = std::chrono::duration<double>(now.time - before.time).count();
  look.waiting = std::max(0.0, now.waited - before.waited);  // threads that end take theirs along
  look.left_idle = look.wall;                                // what cannot be told keeps nobody off
  if (before.on_cores && now.on_cores) {
    look.others = now.on_cores->busy - before.on_cores->busy - (now.computed - before.computed);
    look.left_idle =
        (now.on_cores->idle - before.on_cores->idle) / static_cast<double>(now.cores.size());
  }
  return look;
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

int num_fewer_cores(int num_threads, int num_cores) {
  return num_threads >= 2 && num_threads == num_cores ? (num_threads + 1) / 2 : 0;
}

void WaitingChoice::add(const LookAtCores& look) {
  double waiting = look.waiting;
  if (fewer_) waiting = look.left_idle > (1.0 - kTakenBelow) * look.wall ? 0.0 : look.wall;
  sleep_ = shortage_.add(look.wall, waiting);
  const bool others_fill_them = num_left_ > 0 && look.others > kTakenAbove * num_left_ * look.wall;
  fewer_ = sleep_ && (fewer_ || others_fill_them);
}

SleepingWaits::SleepingWaits(int num_threads) {
  const GompParallel parallel = gomp_parallel();
  // As libgomp counts cores, without the quota of a cgroup. The thread that begins a team counts
  // among the threads of the program already.
  const int num_missing = static_cast<int>(allowed_cores().size()) + 1 - num_threads;
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
  const bool is_chosen = is_set("OMP_WAIT_POLICY") || is_set("GOMP_SPINCOUNT");
  if (is_chosen || num_threads < 2 || !seconds_waiting_for_cores()) return;
  thread_ = std::jthread([this, num_threads](const std::stop_token& stop) {
    take_no_signals();
    watch(stop, num_threads);
  });
}

void ThreadWaiting::watch(const std::stop_token& stop, int num_threads) {
  const std::vector<int> cores = cores_to_choose_from();
  const int num_cores = static_cast<int>(cores.size());
  const int num_fewer = num_fewer_cores(num_threads, num_cores);
  WaitingChoice choice(num_fewer > 0 ? num_cores - num_fewer : 0);
  std::optional<SleepingWaits> sleeping;
  std::optional<FewerCores> fewer;
  // Programs that begin together take other cores, sooner or later.
  std::int64_t turn = std::random_device()() % 2;
  Seen before(cores);
  std::unique_lock lock(mutex_);
  const auto between = kBetweenLooks + num_threads * kMoreForEachThread;
  while (!stopped_.wait_for(lock, stop, between, [&] { return stop.stop_requested(); })) {
    Seen now(fewer ? fewer->left : cores);
    choice.add(difference(before, now));
    if (choice.sleep() && !sleeping) sleeping.emplace(num_threads);
    if (choice.use_fewer_cores() && !fewer) {
      fewer.emplace(cores, choose_cores(cores, num_fewer, turn++));
      now = Seen(fewer->left);
    }
    if (!choice.use_fewer_cores() && fewer) {
      fewer.reset();
      now = Seen(cores);
    }
    if (!choice.sleep()) sleeping.reset();
    before = std::move(now);
  }
}

}  // namespace switchyard::ops
