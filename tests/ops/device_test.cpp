#include "switchyard/ops/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "switchyard/core/error.h"
#include "switchyard/ops/precision.h"

namespace switchyard::ops {
namespace {

using ::testing::HasSubstr;

TEST(Device, NamesAreCheckedAgainstTheBuildAndTheMachine) {
  EXPECT_EQ(device_of("cpu"), c10::Device(c10::kCPU));
  EXPECT_THROW((void)device_of("tpu"), UsageError);
  try {
    EXPECT_TRUE(device_of("cuda").is_cuda());
  } catch (const UsageError& error) {
    EXPECT_THAT(error.hint(), HasSubstr("train.device=cpu"));
  }
}

TEST(Device, TheMemoryOfTheCpuIsWhatTheProcessOccupies) {
  EXPECT_GT(memory_bytes(c10::kCPU), 1U << 20U);
}

TEST(PrecisionPolicy, KnowsThreePrecisions) {
  EXPECT_EQ(precision_policy("fp32").compute, at::kFloat);
  EXPECT_EQ(precision_policy("bf16").compute, at::kBFloat16);
  EXPECT_EQ(precision_policy("fp64").compute, at::kDouble);
  EXPECT_THROW((void)precision_policy("fp16"), UsageError);
}

}  // namespace
}  // namespace switchyard::ops
