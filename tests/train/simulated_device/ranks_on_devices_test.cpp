// Ranks that are threads, each with a device of its own.
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "support/near_in_norm.h"
#include "switchyard/comm/threads.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using switchyard::testing::expect_near_in_norm;

constexpr std::int64_t kRanks = 2;

// The weights of each rank after two steps.
std::vector<std::vector<at::Tensor>> weights_of_ranks(at::DeviceType type) {
  config::Config config = tiny_config("fp32");
  config.train.micro_batch_size = 2;  // two micro-steps
  std::vector<std::vector<at::Tensor>> weights(kRanks);
  comm::run_ranks(kRanks, [&](comm::Communicator& world) {
    const auto index = static_cast<c10::DeviceIndex>(type == at::kCUDA ? world.rank() : -1);
    const TinyRun run(config, world.split(0, "run"), tiny_data(config.data.sequence_length),
                      {type, index});
    (void)run.train(2);
    weights[static_cast<std::size_t>(world.rank())] = run.weights();
  });
  return weights;
}

TEST(RanksOnDevices, TrainAsRanksOnTheCpuDoAndHoldTheSameBits) {
  const auto expected = weights_of_ranks(at::kCPU);
  const auto actual = weights_of_ranks(at::kCUDA);
  for (std::size_t i = 0; i < expected[0].size(); ++i) {
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      EXPECT_EQ(actual[rank][i].device().index(), static_cast<c10::DeviceIndex>(rank));
    }
    expect_near_in_norm(actual[0][i], expected[0][i], 1e-3, "weights");
    EXPECT_TRUE(actual[0][i].cpu().equal(actual[1][i].cpu())) << "parameter " << i;
  }
}

}  // namespace
}  // namespace switchyard::train
