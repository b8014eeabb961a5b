#include "switchyard/ops/device_time.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace switchyard::ops {
namespace {

using std::chrono::milliseconds;

TEST(DeviceSpans, OfACpuAreWallTimeAddedUpByName) {
  SpanTimer timer;
  DeviceSpans spans(c10::kCPU, timer);
  for (int repeat = 0; repeat < 2; ++repeat) {
    const DeviceSpans::Scope scope(spans, "phase");
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_GE(timer.milliseconds("phase"), 10.0);
  spans.add_finished();  // nothing is pending
  EXPECT_EQ(timer.spans().size(), 1U);
}

TEST(DeviceSeconds, OfACpuAreThoseUntilTheWorkReturns) {
  EXPECT_GE(device_seconds(c10::kCPU, [] { std::this_thread::sleep_for(milliseconds(5)); }), 5e-3);
}

}  // namespace
}  // namespace switchyard::ops
