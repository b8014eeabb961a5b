// A device whose memory runs out in the middle of a step.
#include <ATen/Context.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/AllocatorConfig.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "support/simulated_device/simulated_device.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/embedding.h"
#include "switchyard/ops/out_of_memory.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;

// The gradient of a table sorts the tokens in scratch memory and allocates nothing else.
TEST(DeviceMemory, ScratchOfKernelsIsOfTheSamePool) {
  const at::Device device = ops::device_of("cuda");
  const auto on_device = at::TensorOptions().device(device);
  const at::Tensor token_T = at::zeros({4096}, on_device.dtype(at::kLong));
  const at::Tensor weight_VH = at::ones({8, 4}, on_device).requires_grad_();
  const at::Tensor sum_VH = at::zeros({8, 4}, on_device);
  const at::Tensor y_TH = ops::embedding(token_T, weight_VH, sum_VH);
  const at::Tensor dy_TH = at::ones({4096, 4}, on_device);
  ops::forget_peak_memory(device);
  const auto held = static_cast<std::int64_t>(ops::memory_bytes(device));
  simulated_device::set_byte_limit(held + 2 * 4 * 4096);  // the two orders of tokens, no more
  try {
    y_TH.backward(dy_TH, /*retain_graph=*/true);
    ADD_FAILURE() << "scratch is not counted";
  } catch (const std::exception& error) {
    EXPECT_TRUE(ops::is_out_of_memory(error)) << error.what();
    EXPECT_THAT(ops::short_message(error), HasSubstr("Tried to allocate"));
  }
  simulated_device::set_byte_limit(0);
  y_TH.backward(dy_TH);
  EXPECT_GT(static_cast<std::int64_t>(ops::memory_bytes(device)), held + 2 * 4 * 4096);
  EXPECT_EQ(sum_VH.sum().item<float>(), 4 * 4096);
}

TEST(DeviceMemory, ComesInExpandableSegmentsUnlessTheUserSaysOtherwise) {
  (void)ops::device_of("cuda");
  EXPECT_TRUE(c10::CachingAllocator::AcceleratorAllocatorConfig::use_expandable_segments());
  EXPECT_STREQ(std::getenv("PYTORCH_ALLOC_CONF"), "expandable_segments:True");
  ::setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:512", 1);
  (void)ops::device_of("cuda");
  EXPECT_STREQ(std::getenv("PYTORCH_ALLOC_CONF"), "max_split_size_mb:512");
  ::unsetenv("PYTORCH_ALLOC_CONF");
  ::setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512", 1);
  (void)ops::device_of("cuda");
  EXPECT_EQ(std::getenv("PYTORCH_ALLOC_CONF"), nullptr);
  ::unsetenv("PYTORCH_CUDA_ALLOC_CONF");
}

TEST(DeviceArithmetic, IsThatOfTheTypesWhateverTheEnvironmentSays) {
  at::Context& context = at::globalContext();
  context.setFloat32MatmulPrecision("high");  // as TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 does
  context.setAllowBF16ReductionCuBLAS(true);
  (void)ops::device_of("cuda");
  EXPECT_EQ(context.float32MatmulPrecision(), at::Float32MatmulPrecision::HIGHEST);
  EXPECT_EQ(context.allowBF16ReductionCuBLAS(),
            at::CuBLASReductionOption::DisallowReducedPrecisionAllowSplitK);
}

// With the fill, LibTorch would write over every new tensor a second time.
TEST(DeviceMemory, DeterministicModeLeavesNewTensorsAsTheyAre) {
  ops::make_deterministic();
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicFillUninitializedMemory());
  at::globalContext().setDeterministicAlgorithms(false, false);
}

TEST(DeviceMemory, AStepThatDoesNotFitSaysSoAndCanBeMadeWhenThereIsMore) {
  config::Config config = tiny_config("fp32");
  config.train.device = "cuda";
  const TinyRun undisturbed(config);
  const TinyRun run(config);
  (void)undisturbed.train(1);
  (void)run.train(1);
  const auto needed = static_cast<std::int64_t>(ops::memory_bytes(ops::device_of("cuda")));
  simulated_device::set_byte_limit(needed * 7 / 10);
  try {
    (void)run.train(1);
    ADD_FAILURE() << "a step in 0.7 of the " << needed << " bytes that it needs";
  } catch (const OutOfMemoryError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step 2 needs more memory"));
    EXPECT_THAT(error.what(), HasSubstr("Tried to allocate"));
    EXPECT_THAT(error.hint(), HasSubstr("train.micro_batch_size (now 8)"));
  }
  simulated_device::set_byte_limit(0);
  EXPECT_EQ(run.trainer->state().step, 1);
  const auto expected = undisturbed.train(1);
  const auto again = run.train(1);
  EXPECT_EQ(again[0].lm_loss, expected[0].lm_loss);
  EXPECT_EQ(again[0].grad_norm, expected[0].grad_norm);
}

}  // namespace
}  // namespace switchyard::train
