#include "glue/row_order.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace switchyard::glue {
namespace {

// How often each row is read, in steps of `batch` samples.
std::map<std::int64_t, int> times_read(const RowOrder& order, std::int64_t batch) {
  std::map<std::int64_t, int> times;
  for (std::int64_t n = 0; n < order.num_steps() * batch; ++n) {
    if (const auto row = order.row(n)) ++times[*row];
  }
  return times;
}

TEST(RowOrder, AnEpochReadsEveryRowOnceAndItsLastBatchIsShort) {
  const RowOrder order(10, 4, 2.0, 7);
  EXPECT_EQ(order.steps_per_epoch(), 3);
  EXPECT_EQ(order.num_steps(), 6);
  std::vector<std::set<std::int64_t>> epochs(2);
  for (std::int64_t n = 0; n < 24; ++n) {
    const bool is_there = n % 12 < 10;
    ASSERT_EQ(order.row(n).has_value(), is_there) << n;
    if (is_there) epochs[static_cast<std::size_t>(n / 12)].insert(*order.row(n));
  }
  for (const auto& epoch : epochs) EXPECT_EQ(epoch.size(), 10U);
}

TEST(RowOrder, PartsOfAnEpochReadExactlyTheirShareOfTheRows) {
  const RowOrder order(10, 4, 1.5, 7);  // 15 rows
  EXPECT_EQ(order.num_steps(), 5);
  int total = 0;
  for (const auto& [row, times] : times_read(order, 4)) total += times;
  EXPECT_EQ(total, 15);
  EXPECT_FALSE(order.row(4 * 4 + 1).has_value()) << "of the fifth batch one row is left";
  EXPECT_TRUE(order.row(4 * 4).has_value());
}

TEST(RowOrder, FewerRowsThanABatchAreAStepOfTheirOwn) {
  const RowOrder order(5, 64, 2.0, 7);
  EXPECT_EQ(order.num_steps(), 2);
  EXPECT_EQ(times_read(order, 64),
            (std::map<std::int64_t, int>{{0, 2}, {1, 2}, {2, 2}, {3, 2}, {4, 2}}));
  EXPECT_EQ(RowOrder(5, 64, 0.01, 7).num_steps(), 1) << "at least one row";
}

TEST(RowOrder, IsAnotherOneInEveryEpochAndForEverySeed) {
  const auto order_of = [](const RowOrder& order, std::int64_t first) {
    std::vector<std::int64_t> rows;
    for (std::int64_t n = first; n < first + 100; ++n) rows.push_back(order.row(n).value());
    return rows;
  };
  const RowOrder order(100, 10, 2.0, 7);
  EXPECT_EQ(order_of(order, 0), order_of(RowOrder(100, 10, 2.0, 7), 0));
  EXPECT_NE(order_of(order, 0), order_of(order, 100));
  EXPECT_NE(order_of(order, 0), order_of(RowOrder(100, 10, 2.0, 8), 0));
}

}  // namespace
}  // namespace switchyard::glue
