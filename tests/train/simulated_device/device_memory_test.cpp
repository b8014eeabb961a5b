// A device whose memory runs out in the middle of a step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/simulated_device/simulated_device.h"
#include "switchyard/core/error.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;

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
