#include "switchyard/train/stop_signal.h"

#include <gtest/gtest.h>

#include <csignal>

namespace switchyard::train {
namespace {

TEST(StopSignal, TheFirstSignalOnlyAsks) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    const StopSignal stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_EQ(stop.name(), "");
    std::raise(signal);
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(stop.name(), signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGUSR1");
  }
}

TEST(StopSignalDeathTest, TheSecondSignalEndsTheProcessAtOnce) {
  EXPECT_EXIT(
      {
        const StopSignal stop;
        std::raise(SIGTERM);
        std::raise(SIGINT);
      },
      ::testing::ExitedWithCode(128 + SIGINT), "");
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
