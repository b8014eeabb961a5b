#include "switchyard/train/stop_signal.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

namespace switchyard::train {
namespace {

TEST(StopSignal, TheFirstSignalOnlyAsks) {
  const auto before =
      std::signal(SIGHUP, SIG_DFL);  // these tests may be run under nohup themselves
  for (const auto& [signal, name] :
       {std::pair(SIGTERM, "SIGTERM"), std::pair(SIGINT, "SIGINT"), std::pair(SIGHUP, "SIGHUP"),
        std::pair(SIGUSR1, "SIGUSR1"), std::pair(SIGUSR2, "SIGUSR2"),
        std::pair(SIGXCPU, "SIGXCPU")}) {
    const StopSignal stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_EQ(stop.name(), "");
    std::raise(signal);
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(stop.name(), name);
  }
  std::signal(SIGHUP, before);
}

TEST(StopSignal, AHangUpThatNohupIgnoresStaysIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);
  {
    const StopSignal stop;
    std::raise(SIGHUP);
    EXPECT_FALSE(stop.requested());
  }
  std::signal(SIGHUP, before);
}

// GNU timeout signals the program and then its group, of which it is a part.
TEST(StopSignal, ARepeatAtOnceIsTheSameRequest) {
  const StopSignal stop;
  for (int i = 0; i < 3; ++i) std::raise(SIGTERM);
  std::raise(SIGINT);
  EXPECT_EQ(stop.name(), "SIGTERM");
}

TEST(StopSignalDeathTest, ALaterSignalEndsTheProcessAtOnce) {
  EXPECT_EXIT(
      {
        const StopSignal stop;
        std::raise(SIGTERM);
        std::this_thread::sleep_for(std::chrono::milliseconds(1100));
        std::raise(SIGINT);
      },
      ::testing::ExitedWithCode(128 + SIGINT), "");
}

// As the kernel does, and a launcher that gets the signal as its ranks do, while the step is
// finished and saved.
TEST(StopSignal, ALimitOnProcessorTimeAndTheSignalOfRanksMayRepeatThemselves) {
  for (const auto& [signal, name] :
       {std::pair(SIGXCPU, "SIGXCPU"), std::pair(SIGUSR1, "SIGUSR1")}) {
    const StopSignal stop;
    std::raise(signal);
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    for (int i = 0; i < 2; ++i) std::raise(signal);
    EXPECT_EQ(stop.name(), name);
  }
}

TEST(StopSignal, RestoresTheHandlersFromBefore) {
  static volatile std::sig_atomic_t seen = 0;
  std::signal(SIGUSR1, [](int) { seen = 1; });
  { const StopSignal stop; }
  std::raise(SIGUSR1);
  std::signal(SIGUSR1, SIG_DFL);
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace switchyard::train
