#include "switchyard/train/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "switchyard/core/stop_request.h"

namespace switchyard::train {
namespace {

// What job systems and limits of processor time warn with before they kill. Order as in kNames.
constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};
constexpr std::array<const char*, kSignals.size()> kNames = {"SIGINT",  "SIGTERM", "SIGHUP",
                                                             "SIGUSR1", "SIGUSR2", "SIGXCPU"};

volatile std::sig_atomic_t received = 0;
std::array<struct sigaction, kSignals.size()> previous{};
std::mutex mutex;
int num_alive = 0;
std::atomic<std::int64_t> received_at = 0;
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

void on_signal(int signal) {
  if (received == 0) {
    received_at = monotonic_nanoseconds();
    received = signal;
    return;
  }
  // Behind a soft limit SIGXCPU comes again with every second of processor time; SIGUSR1 comes
  // again where all processes of a job are told to stop, and the launcher passes its own on.
  if (signal == SIGXCPU || signal == SIGUSR1 || is_same_request(received_at)) return;
  ::_exit(128 + signal);
}

}  // namespace

StopSignal::StopSignal() {
  const std::lock_guard lock(mutex);
  if (num_alive++ > 0) return;
  received = 0;
  struct sigaction action {};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &previous[i]);
    if (kSignals[i] == SIGHUP && previous[i].sa_handler == SIG_IGN) continue;
    ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  const std::lock_guard lock(mutex);
  if (--num_alive > 0) return;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    // The launcher repeats its own until the ranks have ended, which they may be about to do.
    if (kSignals[i] == SIGUSR1 && received == SIGUSR1 && previous[i].sa_handler == SIG_DFL) {
      previous[i].sa_handler = SIG_IGN;
    }
    ::sigaction(kSignals[i], &previous[i], nullptr);
  }
}

bool StopSignal::requested() const {
  return received != 0;
}

std::string StopSignal::name() const {
  const int signal = received;
  const auto* const found = std::find(kSignals.begin(), kSignals.end(), signal);
  return found == kSignals.end() ? std::string()
                                 : kNames[static_cast<std::size_t>(found - kSignals.begin())];
}

void outlive_closed_output() {
  (void)std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace switchyard::train
