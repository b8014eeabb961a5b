#include "switchyard/train/build.h"

#include <gtest/gtest.h>

#include "switchyard/core/error.h"

namespace switchyard::train {
namespace {

TEST(PrecisionPolicy, KnowsThreePrecisions) {
  EXPECT_EQ(precision_policy("fp32").compute, at::kFloat);
  EXPECT_EQ(precision_policy("bf16").compute, at::kBFloat16);
  EXPECT_EQ(precision_policy("fp64").compute, at::kDouble);
  EXPECT_THROW((void)precision_policy("fp16"), UsageError);
}

}  // namespace
}  // namespace switchyard::train
