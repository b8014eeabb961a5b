// The phases of a step are timed by events of the device, without a wait.
#include <gtest/gtest.h>

#include "support/simulated_device/simulated_device.h"
#include "switchyard/ops/device_time.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

TEST(DevicePhases, OfAStepAreThereWhenTheStepBehindItIsDone) {
  config::Config config = tiny_config("bf16");
  config.train.device = "cuda";
  const TinyRun run(config);
  (void)run.train(2);
  for (const char* phase : {"fetch", "forward", "backward", "reduce_gradients", "update"}) {
    EXPECT_GT(run.trainer->phases().milliseconds(phase), 0.0) << phase;
  }
}

TEST(DevicePhases, AreAddedWhenTheDeviceIsThroughAndMakeNobodyWait) {
  SpanTimer timer;
  ops::DeviceSpans spans({c10::kCUDA, 0}, timer);
  (void)simulated_device::take_traffic();
  { const ops::DeviceSpans::Scope scope(spans, "work"); }
  EXPECT_TRUE(timer.spans().empty());
  spans.add_finished();
  EXPECT_EQ(timer.spans().count("work"), 1U);
  EXPECT_TRUE(simulated_device::take_traffic().waits.empty());
}

}  // namespace
}  // namespace switchyard::train
