#include "switchyard/telemetry/host_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace switchyard::telemetry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What is told in so many equal steps, and in which (from 1).
struct Told {
  std::string text;
  int at = 0;
  int times = 0;
};

Told add(HostWatch& watch, int num_steps, double wall_seconds, double waiting_seconds) {
  Told told;
  for (int i = 1; i <= num_steps; ++i) {
    if (const std::optional<std::string> text = watch.add(wall_seconds, waiting_seconds)) {
      told = {.text = *text, .at = i, .times = told.times + 1};
    }
  }
  return told;
}

TEST(HostWatch, TellsOnceThatOthersTakeTheCores) {
  HostWatch watch(4);
  EXPECT_EQ(add(watch, 200, 1.0, 0.05).times, 0) << "an idle machine";
  const Told told = add(watch, 200, 1.0, 0.5);
  EXPECT_EQ(told.times, 1);
  EXPECT_EQ(told.at, HostWatch::kFewestSteps);
  EXPECT_THAT(told.text, AllOf(HasSubstr("50% of the time"), HasSubstr("OMP_NUM_THREADS=2")));
}

TEST(HostWatch, JudgesNoMoment) {
  HostWatch watch(1);
  EXPECT_EQ(add(watch, 90, 0.1, 0.09).times, 0) << "nine seconds";
  HostWatch few(1);
  EXPECT_EQ(add(few, 19, 100.0, 99.0).times, 0) << "a few steps";
  const Told told = add(few, 1, 100.0, 99.0);
  EXPECT_EQ(told.times, 1);
  EXPECT_THAT(told.text, Not(HasSubstr("OMP_NUM_THREADS"))) << "there is one thread";
}

TEST(HostWatch, AFewSlowStepsInAGoodWindowAreNone) {
  HostWatch watch(2);
  for (int window = 0; window < 5; ++window) {
    EXPECT_EQ(add(watch, 15, 1.0, 0.0).times, 0);
    EXPECT_EQ(add(watch, 5, 1.0, 0.8).times, 0);
  }
}

}  // namespace
}  // namespace switchyard::telemetry
