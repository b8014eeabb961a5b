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

}  // namespace

std::vector<int> cores_to_choose_from() {
  for (const char* const name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}) {
    if (is_set(name)) return {};
  }
  std::error_code error;
  if (std::filesystem::exists("/proc/driver/nvidia", error)) return {};
  return allowed_cores();
}

namespace {

// On fewer cores what others do on the same ones decides nothing, and is not asked for.
SecondsSeen seconds_seen(const WaitingOfThisProcess& process) {
  const bool uses_all = process.cores_left().empty();
  return {.wall = std::chrono::duration<double>(Clock::now().time_since_epoch()).count(),
          .waiting = seconds_waiting_for_cores().value_or(0.0),
          .computed = seconds_computed(),
          .on_ours = uses_all ? seconds_of_cores(process.cores()) : std::nullopt,
          .on_left = seconds_of_cores(process.cores_left()),
          .num_left = static_cast<std::int64_t>(process.cores_left().size())};
}

}  // namespace

WaitingOfThisProcess::WaitingOfThisProcess(int num_threads, const std::vector<int>& cores,
                                           std::int64_t turn)
    : num_threads_(num_threads), all_cores_(cores), turn_(turn), cores_(cores) {}

void WaitingOfThisProcess::change_to(Waiting waiting) {
  if (waiting == waiting_) return;
  if (waiting != Waiting::spinning && !sleeping_) sleeping_.emplace(num_threads_);
  if (waiting_ == Waiting::on_one_thread) install_parallel_backend(Blocks::on_all_threads);
  if (waiting_ == Waiting::on_fewer_cores) {
    kept_.reset();
    cores_ = all_cores_;
    cores_left_.clear();
  }
  if (waiting == Waiting::on_one_thread) install_parallel_backend(Blocks::on_the_calling_thread);
  if (waiting == Waiting::on_fewer_cores) {
    cores_ = choose_cores(all_cores_, num_fewer(), turn_++);
    std::set_difference(all_cores_.begin(), all_cores_.end(), cores_.begin(), cores_.end(),
                        std::back_inserter(cores_left_));
    kept_.emplace(cores_);
  }
  if (waiting == Waiting::spinning) sleeping_.reset();
  waiting_ = waiting;
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
  WaitingOfThisProcess process(num_threads, cores_to_choose_from(), std::random_device()() % 2);
  WaitingChoice choice(process.num_cores(), process.num_fewer());
  SecondsSeen before = seconds_seen(process);
  std::unique_lock lock(mutex_);
  const auto between = kBetweenLooks + num_threads * kMoreForEachThread;
  while (!stopped_.wait_for(lock, stop, between, [&] { return stop.stop_requested(); })) {
    const SecondsSeen now = seconds_seen(process);
    const Waiting was = process.waiting();
    process.change_to(choice.add(difference(before, now)));
    before = process.waiting() == was ? now : seconds_seen(process);  // of other cores
  }
}

}  // namespace switchyard::ops
