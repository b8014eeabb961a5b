#include "switchyard/config/blend_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

const std::vector<std::vector<double>> kBlends = {
    {1.0},
    {2.0, 1.0},
    {140000.0, 1.0},
    {3.0, 1.0, 0.5},
    {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0},
    {0.001, 5.0, 0.3, 0.3, 1e-6, 2.0},
    {1e308, 1e308, 1e300},
};

double share_of(const std::vector<double>& weights, std::size_t set) {
  long double total = 0.0L;
  for (const double weight : weights) total += weight;
  return static_cast<double>(weights[set] / total);
}

TEST(BlendOrder, TurnsAreCountedWithoutAGapAndSharesNeverDrift) {
  for (const auto& weights : kBlends) {
    const BlendOrder order(weights);
    std::vector<std::int64_t> count(weights.size(), 0);
    for (std::int64_t i = 0; i < 300000; ++i) {
      const BlendOrder::Turn turn = order.at(i);
      ASSERT_EQ(turn.index, count[turn.set]) << "sample " << i;
      ++count[turn.set];
      const double ideal = share_of(weights, turn.set) * static_cast<double>(i + 1);
      ASSERT_LT(std::abs(static_cast<double>(count[turn.set]) - ideal), 1.5) << "sample " << i;
    }
    EXPECT_EQ(order.counts(300000), count);
  }
}

TEST(BlendOrder, FarAwayTheSharesAreAsExact) {
  for (const auto& weights : kBlends) {
    const BlendOrder order(weights);
    for (const std::int64_t begin : {std::int64_t{65536} * 1000 - 5, std::int64_t{1} << 50}) {
      std::vector<std::int64_t> count = order.counts(begin);
      EXPECT_EQ(std::accumulate(count.begin(), count.end(), std::int64_t{0}), begin);
      for (std::size_t set = 0; set < weights.size(); ++set) {
        const long double ideal = static_cast<long double>(share_of(weights, set)) * begin;
        // A share is a double: a part in 2^53 of the samples is as near as it can be told.
        EXPECT_LT(std::abs(static_cast<double>(count[set] - ideal)), 1.5 + std::ldexp(begin, -51));
      }
      for (std::int64_t i = begin; i < begin + 1000; ++i) {
        const BlendOrder::Turn turn = order.at(i);
        ASSERT_EQ(turn.index, count[turn.set]++) << "sample " << i;
      }
    }
  }
}

TEST(BlendOrder, AVeryLightSetGetsItsTurn) {
  const std::vector<double> weights = {140000.0, 1.0};
  const BlendOrder order(weights);
  EXPECT_EQ(order.counts(70000)[1], 0);
  EXPECT_EQ(order.counts(140001)[1], 1);
  EXPECT_EQ(order.counts(std::int64_t{140001} * 1000)[1], 1000);
}

TEST(BlendOrder, TheFirstSetLeads) {
  const BlendOrder equal(std::vector<double>{1.0, 1.0, 1.0, 1.0});
  EXPECT_EQ(equal.at(0).set, 0U);
  EXPECT_THROW(BlendOrder(std::vector<double>{}), InternalError);
  EXPECT_THROW(BlendOrder(std::vector<double>{1.0, -1.0}), InternalError);
}

}  // namespace
}  // namespace switchyard::config
