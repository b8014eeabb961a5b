// How often a training step makes the host wait for the device, and what it copies to the host.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/simulated_device/simulated_device.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/top_k.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using simulated_device::Traffic;

constexpr std::int64_t kMoeLayers = 2;
constexpr std::int64_t kMicroBatches = 4;

struct Case {
  std::string name;
  config::RouterConfig router;
  bool recompute = false;
};

class StepTraffic : public ::testing::TestWithParam<Case> {};

// The number of rows of each route; at the end of the step the losses, the counts and the norm.
TEST_P(StepTraffic, IsOneWaitPerRouteAndThreeMore) {
  config::Config config = tiny_config("bf16");
  config.model.moe.router = GetParam().router;
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

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* router :
       {"top_p", "top_k", "attention_importance", "relu", "expert_threshold"}) {
    all.push_back({.name = router, .router = config::RouterConfig(router)});
  }
  for (const char* router : {"top_p", "relu"}) {
    all.push_back({.name = std::string(router) + "_recomputed",
                   .router = config::RouterConfig(router),
                   .recompute = true});
  }
  // Those with numbers of the host that every route reads.
  all.push_back({.name = "top_k_biased",
                 .router = config::RouterConfig(config::TopKOptions{.bias_rate = 1e-2})});
  all.push_back(
      {.name = "expert_threshold_filled",
       .router = config::RouterConfig(config::ExpertThresholdOptions{.threshold_warmup = 1})});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, StepTraffic, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace switchyard::train
