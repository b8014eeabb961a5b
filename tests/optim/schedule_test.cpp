#include "switchyard/optim/schedule.h"

#include <gtest/gtest.h>

#include "switchyard/core/error.h"

namespace switchyard::optim {
namespace {

config::ScheduleConfig schedule_config(const std::string& type) {
  config::ScheduleConfig config;
  config.type = type;
  config.steps = 110;
  config.warmup_steps = 10;
  config.final_ratio = 0.2;
  return config;
}

TEST(Schedule, WarmsUpLinearlyFromTheFirstStep) {
  for (const char* type : {"cosine", "linear", "constant", "warmup_stable_decay"}) {
    const Schedule schedule(schedule_config(type), 2.0, 110);
    EXPECT_DOUBLE_EQ(schedule.learning_rate(1), 0.2) << type;
    EXPECT_DOUBLE_EQ(schedule.learning_rate(5), 1.0) << type;
    EXPECT_DOUBLE_EQ(schedule.learning_rate(10), 2.0) << type;
  }
}

TEST(Schedule, CosineFallsFromPeakThroughTheMiddleToFinal) {
  const Schedule schedule(schedule_config("cosine"), 2.0, 110);
  EXPECT_NEAR(schedule.learning_rate(35), 0.4 + 1.6 * (1.0 + 0.70710678118654752) / 2.0, 1e-12);
  EXPECT_NEAR(schedule.learning_rate(60), 1.2, 1e-12);
  EXPECT_NEAR(schedule.learning_rate(110), 0.4, 1e-12);
  EXPECT_NEAR(schedule.learning_rate(1000), 0.4, 1e-12);
}

TEST(Schedule, LinearFallsEvenly) {
  const Schedule schedule(schedule_config("linear"), 2.0, 110);
  EXPECT_NEAR(schedule.learning_rate(35), 1.6, 1e-12);
  EXPECT_NEAR(schedule.learning_rate(110), 0.4, 1e-12);
  EXPECT_NEAR(schedule.learning_rate(111), 0.4, 1e-12);
}

TEST(Schedule, StableDecayHoldsThePeakUntilTheLastSteps) {
  config::ScheduleConfig config = schedule_config("warmup_stable_decay");
  config.decay_steps = 20;
  const Schedule schedule(config, 2.0, 110);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(50), 2.0);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(90), 2.0);
  EXPECT_NEAR(schedule.learning_rate(100), 1.2, 1e-12);
  EXPECT_NEAR(schedule.learning_rate(110), 0.4, 1e-12);
  config.decay_steps = 0;  // a tenth: 11 steps
  const Schedule by_default(config, 2.0, 110);
  EXPECT_DOUBLE_EQ(by_default.learning_rate(99), 2.0);
  EXPECT_LT(by_default.learning_rate(100), 2.0);
}

TEST(Schedule, ConstantStays) {
  const Schedule schedule(schedule_config("constant"), 2.0, 110);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(500), 2.0);
}

TEST(Schedule, LengthIsTheTrainingsUnlessSet) {
  config::ScheduleConfig config = schedule_config("linear");
  config.warmup_steps = 0;
  EXPECT_EQ(Schedule(config, 1.0, 40).steps(), 110);
  config.steps = 0;
  const Schedule schedule(config, 1.0, 40);
  EXPECT_EQ(schedule.steps(), 40);
  EXPECT_NEAR(schedule.learning_rate(40), 0.2, 1e-12);
}

TEST(Schedule, RefusesUnknownTypesAndTooLongWarmUps) {
  EXPECT_THROW(Schedule(schedule_config("cosin"), 1.0, 10), UsageError);
  config::ScheduleConfig config = schedule_config("warmup_stable_decay");
  config.warmup_steps = 60;
  config.decay_steps = 51;
  EXPECT_THROW(Schedule(config, 1.0, 110), UsageError);
  config.decay_steps = 50;
  EXPECT_DOUBLE_EQ(Schedule(config, 1.0, 110).learning_rate(60), 1.0);
}

}  // namespace
}  // namespace switchyard::optim
