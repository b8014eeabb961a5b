#include "switchyard/core/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(Error, CarriesItsHint) {
  const DataError error("tokens.bin: truncated", "run `switchyard prepare` again");
  EXPECT_STREQ(error.what(), "tokens.bin: truncated");
  EXPECT_EQ(error.hint(), "run `switchyard prepare` again");
  EXPECT_EQ(UsageError("no hint").hint(), "");
}

TEST(Check, BrokenInvariantNamesFileConditionAndMessage) {
  const int rows = 3;
  try {
    SWITCHYARD_CHECK(rows == 4, "expected {} rows, got {}", 4, rows);
    FAIL() << "the check passed";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("error_test.cpp:"));
    EXPECT_THAT(error.what(), testing::HasSubstr("rows == 4: expected 4 rows, got 3"));
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Check, HoldingInvariantDoesNothing) {
  EXPECT_NO_THROW(SWITCHYARD_CHECK(1 + 1 == 2, "arithmetic"));
}

}  // namespace
}  // namespace switchyard
