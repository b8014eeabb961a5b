#include "train/step_accumulator.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "switchyard/comm/self.h"

namespace switchyard::train {
namespace {

using ::testing::ElementsAre;

using Rows = std::vector<std::int64_t>;

// A layer's rows per expert of two sequences, and how many tokens have 0, 1, ... experts.
model::LayerRoute route(std::int64_t layer, const std::vector<Rows>& count_BE,
                        const Rows& histogram, double entropy) {
  const auto num_experts = static_cast<std::int64_t>(count_BE[0].size());
  model::LayerRoute made{.layer = layer, .routing = {}, .sums = {}};
  made.routing.num_experts = num_experts;
  Rows flat;
  for (const Rows& counts : count_BE) flat.insert(flat.end(), counts.begin(), counts.end());
  made.sums.count_BE = at::tensor(flat, at::kLong).view({-1, num_experts});
  made.sums.k_histogram_E1 = at::tensor(histogram, at::kLong);
  made.sums.entropy_sum = at::tensor({entropy}, at::kDouble);
  return made;
}

routing::LossShares shares(double load_balance) {
  const auto share = [](double value) { return at::tensor({value}, at::kDouble); };
  return {.load_balance = share(load_balance),
          .dynamic = share(load_balance + 1.0),
          .z = share(load_balance + 2.0),
          .l1 = {}};
}

Rows numbers(const at::Tensor& tensor) {
  const auto* begin = tensor.const_data_ptr<std::int64_t>();
  return {begin, begin + tensor.numel()};
}

// Layers of unlike numbers of experts: nothing falls into the place of another's by chance.
TEST(StepAccumulator, GivesEveryLayerItsOwnNumbers) {
  const auto self = comm::make_self_communicator();
  StepAccumulator sums(*self);
  const std::vector<model::LayerRoute> routes = {
      route(1, {{1, 2, 3}, {4, 5, 6}}, {0, 7, 8, 9}, 0.5),
      route(3, {{10, 20}, {30, 40}}, {50, 60, 70}, 1.5),
      route(4, {{100, 200, 300, 400}, {1, 1, 1, 1}}, {2, 3, 4, 5, 6}, 2.5)};
  const std::vector<at::Tensor> counts = sums.reduce_counts(routes);
  ASSERT_EQ(counts.size(), 3U);
  EXPECT_THAT(numbers(counts[0]), ElementsAre(5, 7, 9));
  EXPECT_THAT(numbers(counts[1]), ElementsAre(40, 60));
  EXPECT_THAT(numbers(counts[2]), ElementsAre(101, 201, 301, 401));
  for (int micro_step = 0; micro_step < 2; ++micro_step) {
    sums.add_losses(at::tensor({3.0}, at::kDouble), routes,
                    {shares(10.0), shares(20.0), shares(30.0)});
  }
  (void)sums.reduce_counts(routes);  // of the second micro-step
  const StepAccumulator::Totals totals = sums.finish(/*num_tokens=*/12);
  EXPECT_EQ(totals.lm_loss_sum, 6.0);
  ASSERT_EQ(totals.layers.size(), 3U);
  EXPECT_THAT(totals.layers[0].count_E, ElementsAre(10, 14, 18));
  EXPECT_THAT(totals.layers[1].count_E, ElementsAre(80, 120));
  EXPECT_THAT(totals.layers[2].count_E, ElementsAre(202, 402, 602, 802));
  EXPECT_THAT(totals.layers[1].k_histogram_E1, ElementsAre(100, 120, 140));
  EXPECT_THAT(totals.layers[2].k_histogram_E1, ElementsAre(4, 6, 8, 10, 12));
  for (std::size_t i = 0; i < 3; ++i) {
    const telemetry::LayerSums& layer = totals.layers[i];
    const double load_balance = 10.0 * static_cast<double>(i + 1);
    EXPECT_EQ(layer.layer, routes[i].layer);
    EXPECT_EQ(layer.num_tokens, 12);
    EXPECT_EQ(layer.entropy_sum, 2.0 * (0.5 + static_cast<double>(i)));
    EXPECT_EQ(layer.losses.load_balance, 2.0 * load_balance);
    EXPECT_EQ(layer.losses.dynamic, 2.0 * (load_balance + 1.0));
    EXPECT_EQ(layer.losses.z, 2.0 * (load_balance + 2.0));
    EXPECT_EQ(layer.losses.l1, 0.0);
  }
}

}  // namespace
}  // namespace switchyard::train
