#include "train/run/run_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/tiny_model.h"

namespace switchyard::train {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

std::vector<std::string> slow(const config::Config& config) {
  return slow_on_gpu(config, at::Device(at::kCUDA, 0), {});
}

TEST(RunWords, WhatMakesAGpuSlowIsNamedWithWhatHelps) {
  config::Config config = testing::tiny_config("bf16");
  EXPECT_THAT(slow(config), IsEmpty());
  config.model.head_dim = 20;
  EXPECT_THAT(slow(config),
              ElementsAre(AllOf(HasSubstr("model.head_dim is 20"), HasSubstr("in steps of 8"))));
  config.model.moe.compute = "loop";
  EXPECT_THAT(slow(config), ElementsAre(_, AllOf(HasSubstr("model.moe.compute is loop: the host"),
                                                 HasSubstr("auto chooses"))));
  config.model.head_dim = 16;
  config.model.moe.compute = "auto";
  config.model.moe.expert_size = 20;
  EXPECT_THAT(slow(config), ElementsAre(AllOf(HasSubstr("experts are computed one by one"),
                                              HasSubstr("model.moe.expert_size (20)"))));
  config.train.precision = "fp32";
  EXPECT_THAT(slow(config), ElementsAre(HasSubstr("train.precision=bf16 is many times faster")));
  config.train.precision = "fp64";
  EXPECT_THAT(slow(config), IsEmpty());
}

}  // namespace
}  // namespace switchyard::train
