#include "switchyard/train/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <mutex>

namespace switchyard::train {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

volatile std::sig_atomic_t received = 0;
std::array<struct sigaction, kSignals.size()> previous{};
std::mutex mutex;
int num_alive = 0;

void on_signal(int signal) {
  if (received != 0) ::_exit(128 + signal);
  received = signal;
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
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &previous[i], nullptr);
}

bool StopSignal::requested() const {
  return received != 0;
}

std::string StopSignal::name() const {
  switch (received) {
    case 0:
      return "";
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    default:
      return "SIGUSR1";
  }
}

void outlive_closed_output() {
  (void)std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace switchyard::train
