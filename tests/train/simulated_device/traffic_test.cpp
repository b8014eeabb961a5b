// How often a training step makes the host wait for the device, and what it copies to the host.
#include <gtest/gtest.h>

#include <string>

#include "support/simulated_device/simulated_device.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using simulated_device::Traffic;

constexpr std::int64_t kMoeLayers = 2;
constexpr std::int64_t kMicroBatches = 4;

struct Case {
  const char* router;
  bool recompute;
};

class StepTraffic : public ::testing::TestWithParam<Case> {};

// The number of rows of each route; at the end of the step the losses, the counts and the norm.
TEST_P(StepTraffic, IsOneWaitPerRouteAndThreeMore) {
  config::Config config = tiny_config("bf16");
  config.model.moe.router = config::RouterConfig(GetParam().router);
  config.model.moe.layers = {0, 1};
  config.model.dropout = 0.1;
  config.optim.clip_norm = 0.01;
  config.train.device = "cuda";
  config.train.micro_batch_size = 8 / kMicroBatches;
  config.train.recompute = GetParam().recompute;
  const TinyRun run(config);
  (void)run.train(1);  // tables and buffers
  (void)simulated_device::take_traffic();
  (void)run.train(1);
  const Traffic traffic = simulated_device::take_traffic();
  constexpr std::int64_t kLimit = kMoeLayers * kMicroBatches + 3;
  EXPECT_LE(simulated_device::total(traffic.waits), kLimit) << to_string(traffic);
  EXPECT_LE(simulated_device::total(traffic.copies_to_host), kLimit) << to_string(traffic);
  EXPECT_EQ(traffic.waits.at("forward/route: read back"), kMoeLayers * kMicroBatches)
      << to_string(traffic);
}

INSTANTIATE_TEST_SUITE_P(All, StepTraffic,
                         ::testing::Values(Case{"top_p", false}, Case{"top_k", false},
                                           Case{"attention_importance", false}, Case{"relu", false},
                                           Case{"expert_threshold", false}, Case{"top_p", true},
                                           Case{"relu", true}),
                         [](const auto& instance) {
                           return std::string(instance.param.router) +
                                  (instance.param.recompute ? "_recomputed" : "");
                         });

}  // namespace
}  // namespace switchyard::train
