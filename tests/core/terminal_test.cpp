#include "switchyard/core/terminal.h"

#include <gtest/gtest.h>

#include <limits>

namespace switchyard {
namespace {

TEST(FormatCount, KeepsAboutThreeDigits) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(512), "512");
  EXPECT_EQ(format_count(5100), "5.1k");
  EXPECT_EQ(format_count(1.41e6), "1.41M");
  EXPECT_EQ(format_count(374e6), "374M");
  EXPECT_EQ(format_count(3.5e9), "3.5B");
  EXPECT_EQ(format_count(999.9e3), "1M");
  EXPECT_EQ(format_count(-1500), "-1.5k");
  EXPECT_EQ(format_count(std::numeric_limits<double>::infinity()), "inf");
}

TEST(FormatBytes, CountsInPowersOf1024) {
  EXPECT_EQ(format_bytes(0), "0");
  EXPECT_EQ(format_bytes(1536), "1.5K");
  EXPECT_EQ(format_bytes(1288490189), "1.2G");
}

TEST(FormatDuration, ChoosesTheUnit) {
  EXPECT_EQ(format_duration(0.25), "0.2s");
  EXPECT_EQ(format_duration(42.4), "42s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(150), "2m30s");
  EXPECT_EQ(format_duration(720), "12m");
  EXPECT_EQ(format_duration(3900), "1h05m");
  EXPECT_EQ(format_duration(200000), "2d07h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(ProgressBar, WritesOneLinePerTenPercentToAPipe) {
  if (stderr_is_terminal()) GTEST_SKIP() << "standard error is a terminal";
  testing::internal::CaptureStderr();
  ProgressBar bar("encoding", 1000);
  for (std::uint64_t done = 0; done <= 1000; done += 5) bar.advance_to(done);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text,
            "encoding 10%\nencoding 20%\nencoding 30%\nencoding 40%\nencoding 50%\n"
            "encoding 60%\nencoding 70%\nencoding 80%\nencoding 90%\nencoding 100%\n");
}

}  // namespace
}  // namespace switchyard
