// Ranks that are threads, each with a device of its own: over the threads' communicator and over
// NCCL.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "support/near_in_norm.h"
#include "support/simulated_device/simulated_device.h"
#include "switchyard/comm/nccl.h"
#include "switchyard/comm/text.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/router.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using switchyard::testing::expect_near_in_norm;

constexpr std::int64_t kRanks = 2;

enum class Place { cpu, devices, devices_over_nccl };

c10::Device device_of(const comm::Communicator& world, Place place) {
  if (place == Place::cpu) return c10::kCPU;
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(world.rank())};
}

std::unique_ptr<comm::Communicator> connect(comm::Communicator& threads, Place place) {
  if (place != Place::devices_over_nccl) return threads.split(0, "run");
  const std::string id =
      comm::text_of_first(threads, threads.rank() == 0 ? comm::new_nccl_id() : "", "NCCL id");
  return comm::join_nccl({.id = id,
                          .rank = threads.rank(),
                          .num_ranks = threads.size(),
                          .device = device_of(threads, place)});
}

// The weights of each rank after two steps.
std::vector<std::vector<at::Tensor>> weights_of_ranks(config::Config config, Place place) {
  config.train.micro_batch_size = 2;  // two micro-steps
  std::vector<std::vector<at::Tensor>> weights(kRanks);
  comm::run_ranks(kRanks, [&](comm::Communicator& threads) {
    const TinyRun run(config, connect(threads, place), tiny_data(config.data.sequence_length),
                      device_of(threads, place));
    (void)run.train(2);
    weights[static_cast<std::size_t>(threads.rank())] = run.weights();
  });
  return weights;
}

void expect_same(const std::vector<std::vector<at::Tensor>>& actual,
                 const std::vector<std::vector<at::Tensor>>& expected, bool is_split) {
  for (std::size_t rank = 0; rank < kRanks; ++rank) {
    for (std::size_t i = 0; i < expected[0].size(); ++i) {
      EXPECT_EQ(actual[rank][i].device().index(), static_cast<c10::DeviceIndex>(rank));
      expect_near_in_norm(actual[rank][i], expected[rank][i], 1e-3, "weights");
      if (is_split) continue;  // ranks hold other experts
      EXPECT_TRUE(actual[0][i].cpu().equal(actual[1][i].cpu())) << "parameter " << i;
    }
  }
}

TEST(RanksOnDevices, TrainAsRanksOnTheCpuDoAndHoldTheSameBits) {
  config::Config config = tiny_config("fp32");
  expect_same(weights_of_ranks(config, Place::devices_over_nccl),
              weights_of_ranks(config, Place::cpu), false);
  config.parallel.shard_optimizer = false;
  const auto expected = weights_of_ranks(config, Place::cpu);
  expect_same(weights_of_ranks(config, Place::devices), expected, false);
  expect_same(weights_of_ranks(config, Place::devices_over_nccl), expected, false);
}

// Rows travel between devices, with every router.
TEST(RanksOnDevices, SplitTheExpertsOverNcclAsOverThreads) {
  for (const config::RouterDescriptor* router : config::router_descriptors()) {
    SCOPED_TRACE(router->name);
    config::Config config = tiny_config("fp32");
    config.model.moe.router = config::RouterConfig(router->name);
    config.parallel.expert = 2;
    expect_same(weights_of_ranks(config, Place::devices_over_nccl),
                weights_of_ranks(config, Place::cpu), true);
  }
}

// What ranks wait for beside what one rank does: how many rows come, once a layer and micro-batch;
// token counts at the start of a step, the clip norm at its end. Rows and gradients make nobody
// wait.
TEST(RanksOnDevices, WaitForFewThingsMoreThanOneRankDoes) {
  config::Config config = tiny_config("fp32");
  config.parallel.expert = 2;
  config.train.micro_batch_size = 2;
  comm::run_ranks(kRanks, [&](comm::Communicator& threads) {
    const TinyRun run(config, connect(threads, Place::devices_over_nccl),
                      tiny_data(config.data.sequence_length),
                      device_of(threads, Place::devices_over_nccl));
    (void)run.train(1);
    threads.barrier("count from here");
    if (threads.rank() == 0) (void)simulated_device::take_traffic();
    threads.barrier("counting");
    (void)run.train(1);
    threads.barrier("counted");
    if (threads.rank() != 0) return;
    const simulated_device::Traffic traffic = simulated_device::take_traffic();
    const std::int64_t num_routes = 2 * std::ssize(config.model.moe.layers) * kRanks;
    EXPECT_EQ(traffic.waits.at("forward/exchange_counts: copy"), num_routes);
    for (const auto& [name, count] : traffic.waits) {
      EXPECT_EQ(name.find("exchange_rows"), std::string::npos) << to_string(traffic);
      if (name.starts_with("fetch") || name.starts_with("reduce_gradients")) {
        EXPECT_LE(count, 2 * kRanks) << to_string(traffic);
      }
      if (name.starts_with("clip")) {
        EXPECT_LE(count, 3 * kRanks) << to_string(traffic);
      }
    }
  });
}

}  // namespace
}  // namespace switchyard::train
