// What the estimate of memory says of a model of 3.5 B parameters, which nobody allocates here.
#include <gtest/gtest.h>

#include <vector>

#include "support/counting_allocator.h"
#include "switchyard/config/presets.h"
#include "switchyard/core/error.h"
#include "switchyard/plan/training_memory.h"

namespace switchyard::plan {
namespace {

using testing::CountingAllocator;

config::Config huang() {
  config::Config config;
  config.model = config::load_model_preset("huang-3.5b");
  config.data.sequence_length = 2048;
  config.train.precision = "bf16";
  config.train.global_batch_size = 512;
  return config;
}

MemorySetting setting_of(const config::Config& config, double k) {
  return {.experts_per_token_L =
              std::vector<double>(static_cast<std::size_t>(config.model.num_layers), k)};
}

TEST(TrainingMemory, OfHuangsModelIsToldWithoutAllocatingIt) {
  const CountingAllocator allocator;
  CountingAllocator::peak_bytes = CountingAllocator::live_bytes.load();
  const std::int64_t before = CountingAllocator::live_bytes;
  const TrainingMemory memory(huang(), 2);
  const double total = memory.use(setting_of(huang(), 2.0)).total();
  EXPECT_LT(CountingAllocator::peak_bytes - before, 1 << 20);
  // 3.49 B parameters: bf16 weights, and fp32 masters (but for norms and routers, which have no
  // copy), gradients and two moments.
  constexpr double kParameters = 3.4886e9;
  EXPECT_NEAR(memory.state().weights, 2 * kParameters, 0.01e9);
  EXPECT_NEAR(memory.state().masters, 4 * kParameters, 0.01e9);
  EXPECT_NEAR(memory.state().gradients, 4 * kParameters, 0.01e9);
  EXPECT_EQ(memory.state().moments, 2 * memory.state().gradients);
  EXPECT_GT(total, 1e9);
}

TEST(TrainingMemory, OfFp32HasNoMastersBesideTheWeights) {
  config::Config config = huang();
  config.train.precision = "fp32";
  const TrainingMemory memory(config, 2);
  EXPECT_EQ(memory.state().masters, 0.0);
  EXPECT_EQ(memory.state().weights, memory.state().gradients);
}

TEST(TrainingMemory, GrowsWithTheMicroBatchAndWithK) {
  const config::Config config = huang();
  const TrainingMemory memory(config, 2);
  for (const bool recompute : {false, true}) {
    for (const Device device : {Device::cpu, Device::gpu}) {
      double before = 0.0;
      for (const double k : {1.0, 1.5, 3.0, 16.0}) {
        MemorySetting setting = setting_of(config, k);
        setting.recompute = recompute;
        setting.device = device;
        double smaller = 0.0;
        for (std::int64_t size = 1; size <= 40; ++size) {
          setting.micro_batch_size = size;
          const double total = memory.use(setting).total();
          EXPECT_GT(total, smaller);
          smaller = total;
        }
        EXPECT_GT(smaller, before);
        before = smaller;
      }
    }
  }
}

TEST(TrainingMemory, RecomputingTakesLess) {
  const config::Config config = huang();
  const TrainingMemory memory(config, 2);
  MemorySetting setting = setting_of(config, 2.0);
  const double plain = memory.use(setting).total();
  setting.recompute = true;
  EXPECT_LT(memory.use(setting).total(), plain / 3);
}

TEST(TrainingMemory, TheLargestMicroBatchFitsAndOneMoreDoesNot) {
  const config::Config config = huang();
  const TrainingMemory memory(config, 2);
  for (const double gibibytes : {60.0, 80.0, 141.0, 500.0}) {
    const double bytes = gibibytes * 0x1p30;
    for (const double k : {2.6, 16.0}) {
      MemorySetting setting = setting_of(config, k);
      setting.device = Device::gpu;
      const std::int64_t largest = memory.largest_micro_batch(setting, bytes, 512);
      const auto needs = [&](std::int64_t size) {
        setting.micro_batch_size = size;
        return memory.state().total() + memory.use(setting).total();
      };
      ASSERT_LT(largest, 512);
      if (largest > 0) {
        EXPECT_LE(needs(largest), bytes);
      }
      EXPECT_GT(needs(largest + 1), bytes);
    }
  }
  // Neither more than the limit nor more than none.
  EXPECT_EQ(memory.largest_micro_batch(setting_of(config, 2.0), 1e15, 512), 512);
  EXPECT_EQ(memory.largest_micro_batch(setting_of(config, 2.0), 1e9, 512), 0);
}

TEST(TrainingMemory, TensorsThatNoMemoryCanHoldAreAUsageError) {
  config::Config config = huang();
  config.model.hidden_size = 1 << 24;
  config.model.moe.num_experts = 1 << 13;
  config.model.moe.expert_size = 1 << 24;
  EXPECT_THROW(TrainingMemory(config, 2), UsageError);
}

}  // namespace
}  // namespace switchyard::plan
