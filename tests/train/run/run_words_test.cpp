#include "train/run/run_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/tiny_model.h"

namespace switchyard::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string told_of_precision(double measured, double fp32) {
  Environment environment;
  environment.measured_peak_flops = measured;
  environment.fp32_peak_flops = fp32;
  ::testing::internal::CaptureStderr();
  warn_of_a_slow_precision(environment);
  return ::testing::internal::GetCapturedStderr();
}

TEST(RunWords, Bf16OnACpuThatIsFasterInFp32IsWarnedOf) {
  EXPECT_THAT(told_of_precision(145e9, 264e9),
              AllOf(HasSubstr("145 GFLOP/s in bf16 and 264 in fp32"),
                    HasSubstr("train.precision=fp32 is faster")));
  EXPECT_EQ(told_of_precision(390e9, 160e9), "");
  EXPECT_EQ(told_of_precision(200e9, 210e9), "") << "a machine that does other things too";
  EXPECT_EQ(told_of_precision(100e9, 0.0), "") << "not bf16, or on a GPU";
  EXPECT_EQ(told_of_precision(0.0, 264e9), "") << "there was no room to measure";
}

TEST(RunWords, Fp32IsMeasuredBesideBf16Alone) {
  EXPECT_GT(measure_environment(testing::tiny_config("bf16")).fp32_peak_flops, 0.0);
  EXPECT_EQ(measure_environment(testing::tiny_config("bf16"), 1, false).fp32_peak_flops, 0.0);
  EXPECT_EQ(measure_environment(testing::tiny_config("fp32")).fp32_peak_flops, 0.0);
}

}  // namespace
}  // namespace switchyard::train
