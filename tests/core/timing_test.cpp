#include "switchyard/core/timing.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

using std::chrono::milliseconds;

TEST(SpanTimer, AddsUpByNameUntilReset) {
  SpanTimer timer;
  timer.add("forward", milliseconds(2));
  timer.add("forward", milliseconds(3));
  timer.add("backward", milliseconds(1));
  EXPECT_DOUBLE_EQ(timer.milliseconds("forward"), 5.0);
  EXPECT_DOUBLE_EQ(timer.milliseconds("backward"), 1.0);
  EXPECT_DOUBLE_EQ(timer.milliseconds("absent"), 0.0);
  timer.reset();
  EXPECT_TRUE(timer.spans().empty());
}

TEST(Span, AddsItsScopeOnExit) {
  SpanTimer timer;
  {
    const Span span(timer, "work");
    EXPECT_TRUE(timer.spans().empty());
  }
  ASSERT_EQ(timer.spans().size(), 1U);
  EXPECT_GE(timer.milliseconds("work"), 0.0);
}

}  // namespace
}  // namespace switchyard
