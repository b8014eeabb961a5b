#include "switchyard/telemetry/step_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace switchyard::telemetry {
namespace {

using ::testing::ElementsAre;

// Two MoE layers of four experts, four tokens; numbers chosen to be added by hand.
StepSums two_layer_step(std::int64_t step) {
  StepSums sums{.step = step,
                .num_tokens = 4,
                .lm_loss = 3.0,
                .grad_norm = 0.5,
                .learning_rate = 1e-3,
                .seconds = 0.5};
  sums.layers.push_back({.layer = 1,
                         .num_tokens = 4,
                         .count_E = {4, 2, 0, 0},
                         .k_histogram_E1 = {0, 2, 2, 0, 0},
                         .entropy_sum = 2.0,
                         .losses = {.load_balance = 1.5, .dynamic = 0.5, .z = 4.0, .l1 = 2.0},
                         .weighted_l1 = 0.25,
                         .router_grad_norm = 0.03});
  sums.layers.push_back({.layer = 3,
                         .num_tokens = 4,
                         .count_E = {1, 1, 1, 1},
                         .k_histogram_E1 = {0, 4, 0, 0, 0},
                         .entropy_sum = 4.0,
                         .losses = {.load_balance = 0.5, .dynamic = 1.0, .z = 6.0},
                         .router_grad_norm = 0.04});
  return sums;
}

StatisticsOptions test_options() {
  StatisticsOptions options;
  options.loss.load_balance = 0.1;
  options.loss.dynamic = 0.01;
  options.loss.z = 0.001;
  options.flops_per_token = [](double k) { return 100.0 + 10.0 * k; };
  options.peak_flops = 2000.0;
  return options;
}

TEST(StepStatistics, RecordsOneStepAsAddedByHand) {
  StepStatistics statistics(test_options());
  statistics.add(two_layer_step(7));
  const StepRecord record = statistics.take_record(SpanTimer{}, 1234);
  EXPECT_EQ(record.step, 7);
  EXPECT_EQ(record.tokens, 4);
  EXPECT_EQ(record.memory_bytes, 1234U);
  EXPECT_DOUBLE_EQ(record.step_ms, 500.0);
  EXPECT_DOUBLE_EQ(record.tokens_per_second, 8.0);
  EXPECT_DOUBLE_EQ(record.losses.load_balance, 1.0);  // mean over layers
  EXPECT_DOUBLE_EQ(record.losses.dynamic, 0.75);
  EXPECT_DOUBLE_EQ(record.losses.z, 5.0);
  EXPECT_DOUBLE_EQ(record.weighted.load_balance, 0.2);  // sum over layers
  EXPECT_DOUBLE_EQ(record.weighted.dynamic, 0.015);
  EXPECT_DOUBLE_EQ(record.weighted.z, 0.01);
  EXPECT_DOUBLE_EQ(record.losses.l1, 1.0);
  EXPECT_DOUBLE_EQ(record.weighted.l1, 0.25);  // by the coefficients of the layers
  EXPECT_DOUBLE_EQ(record.loss, 3.475);
  ASSERT_TRUE(record.routing.has_value());
  EXPECT_DOUBLE_EQ(record.routing->experts_per_token, 10.0 / 8.0);
  EXPECT_DOUBLE_EQ(record.routing->router_entropy, 6.0 / 8.0);
  EXPECT_DOUBLE_EQ(record.routing->max_violation, 4.0 / 1.5 - 1.0);  // the worst layer's
  EXPECT_EQ(record.routing->dead_experts, 2);
  EXPECT_DOUBLE_EQ(record.routing->dead_fraction, 0.25);
  EXPECT_DOUBLE_EQ(record.routing->single_expert_share, 6.0 / 8.0);
  EXPECT_DOUBLE_EQ(record.layers[0].routing.single_expert_share, 0.5);
  EXPECT_DOUBLE_EQ(record.routing->router_grad_norm, 0.05);  // of all routers together
  EXPECT_DOUBLE_EQ(record.layers[1].routing.router_grad_norm, 0.04);
  EXPECT_DOUBLE_EQ(record.mfu.value(), (100.0 + 12.5) * 8.0 / 2000.0);
  ASSERT_EQ(record.layers.size(), 2U);
  EXPECT_EQ(record.layers[0].layer, 1);
  EXPECT_DOUBLE_EQ(record.layers[0].routing.experts_per_token, 1.5);
  EXPECT_DOUBLE_EQ(record.layers[1].routing.max_violation, 0.0);
  EXPECT_THAT(record.layers[0].load, ElementsAre(4.0 / 6.0, 2.0 / 6.0, 0.0, 0.0));
  EXPECT_THAT(record.layers[0].k_histogram, ElementsAre(0, 2, 2, 0, 0));
}

TEST(StepStatistics, WindowCoversTheStepsSinceTheLastRecord) {
  StepStatistics statistics(test_options());
  statistics.add(two_layer_step(1));
  (void)statistics.take_record(SpanTimer{}, 0);
  EXPECT_TRUE(statistics.empty());
  StepSums second = two_layer_step(2);
  second.layers[0].count_E = {0, 0, 3, 3};  // an expert used in one step of the window is not dead
  second.lm_loss = 5.0;
  statistics.add(second);
  StepSums third = two_layer_step(3);
  third.lm_loss = 6.0;
  third.learning_rate = 2e-3;
  statistics.add(third);
  SpanTimer phases;
  phases.add("forward", std::chrono::milliseconds(30));
  const StepRecord record = statistics.take_record(phases, 0);
  EXPECT_EQ(record.step, 3);
  EXPECT_EQ(record.tokens, 12);
  EXPECT_DOUBLE_EQ(record.lm_loss, 5.5);
  EXPECT_DOUBLE_EQ(record.learning_rate, 2e-3);
  EXPECT_EQ(record.routing->dead_experts, 0);
  EXPECT_DOUBLE_EQ(record.layers[0].losses.load_balance, 1.5);
  EXPECT_DOUBLE_EQ(record.phase_ms.at("forward"), 15.0);
}

TEST(StepStatistics, SkippedStepsAreCountedButEnterNoMean) {
  StepStatistics statistics(test_options());
  statistics.add(two_layer_step(1));
  StepSums bad = two_layer_step(2);
  bad.skipped = true;
  bad.lm_loss = std::numeric_limits<double>::quiet_NaN();
  bad.layers[0].entropy_sum = std::numeric_limits<double>::quiet_NaN();
  statistics.add(bad);
  const StepRecord record = statistics.take_record(SpanTimer{}, 0);
  EXPECT_EQ(record.step, 2);
  EXPECT_EQ(record.skipped_steps, 1);
  EXPECT_DOUBLE_EQ(record.lm_loss, 3.0);
  EXPECT_DOUBLE_EQ(record.routing->router_entropy, 0.75);
  statistics.add(bad);
  const StepRecord only_bad = statistics.take_record(SpanTimer{}, 0);
  EXPECT_EQ(only_bad.skipped_steps, 2);
  EXPECT_TRUE(std::isnan(only_bad.loss));
  EXPECT_TRUE(only_bad.layers.empty());
}

TEST(StepStatistics, ModelWithoutMoeLayersHasNoRouting) {
  StepStatistics statistics(test_options());
  statistics.add({.step = 1, .num_tokens = 10, .lm_loss = 2.0, .seconds = 1.0});
  const StepRecord record = statistics.take_record(SpanTimer{}, 0);
  EXPECT_FALSE(record.routing.has_value());
  EXPECT_DOUBLE_EQ(record.loss, 2.0);
  EXPECT_DOUBLE_EQ(record.mfu.value(), 100.0 * 10.0 / 2000.0);
}

TEST(StepStatistics, UnknownPeakGivesNoMfu) {
  StatisticsOptions options = test_options();
  options.peak_flops = 0.0;
  StepStatistics statistics(options);
  statistics.add(two_layer_step(1));
  EXPECT_FALSE(statistics.take_record(SpanTimer{}, 0).mfu.has_value());
}

TEST(HistogramPercentile, IsTheSmallestKThatCoversTheShare) {
  const std::vector<std::int64_t> histogram = {1, 10, 80, 9};  // 100 tokens
  EXPECT_EQ(histogram_percentile(histogram, 0.01), 0);
  EXPECT_EQ(histogram_percentile(histogram, 0.05), 1);
  EXPECT_EQ(histogram_percentile(histogram, 0.11), 1);
  EXPECT_EQ(histogram_percentile(histogram, 0.12), 2);
  EXPECT_EQ(histogram_percentile(histogram, 0.95), 3);
  EXPECT_EQ(histogram_percentile(histogram, 0.0), 0);
  EXPECT_EQ(histogram_percentile(histogram, 1.0), 3);
  EXPECT_EQ(histogram_percentile({0, 0, 0}, 0.5), 0);
}

TEST(MaxViolation, IsTheLargestLoadOverTheMeanMinusOne) {
  EXPECT_DOUBLE_EQ(max_violation({2, 2, 2, 2}), 0.0);
  EXPECT_DOUBLE_EQ(max_violation({8, 0, 0, 0}), 3.0);
  EXPECT_DOUBLE_EQ(max_violation({0, 0}), 0.0);
}

}  // namespace
}  // namespace switchyard::telemetry
