#include "switchyard/core/terminal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <limits>
#include <string>

#include "support/environment_variable.h"
#include "switchyard/core/error.h"

namespace switchyard {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

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
  EXPECT_EQ(format_bytes(0), "0B");
  EXPECT_EQ(format_bytes(1), "1B");
  EXPECT_EQ(format_bytes(1000), "1000B");
  EXPECT_EQ(parse_bytes(format_bytes(512)), 512U);
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

// Standard error goes elsewhere for the life of this object.
class StderrTo {
 public:
  explicit StderrTo(int descriptor) : saved_(::dup(STDERR_FILENO)) {
    std::fflush(stderr);
    ::dup2(descriptor, STDERR_FILENO);
  }
  ~StderrTo() {
    std::fflush(stderr);
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
  }
  StderrTo(const StderrTo&) = delete;
  StderrTo& operator=(const StderrTo&) = delete;

 private:
  int saved_;
};

// A terminal: what is written to `screen` can be read from `keyboard`.
class PseudoTerminal {
 public:
  PseudoTerminal() : keyboard_(::posix_openpt(O_RDWR | O_NOCTTY)) {
    if (keyboard_ < 0 || ::grantpt(keyboard_) != 0 || ::unlockpt(keyboard_) != 0) return;
    screen_ = ::open(::ptsname(keyboard_), O_RDWR | O_NOCTTY);
  }
  ~PseudoTerminal() {
    ::close(screen_);
    ::close(keyboard_);
  }
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;
  [[nodiscard]] int screen() const { return screen_; }
  [[nodiscard]] int keyboard() const { return keyboard_; }

 private:
  int keyboard_;
  int screen_ = -1;
};

// Waits for `wanted` and gives all text until it came.
std::string read_until(int descriptor, const std::string& wanted) {
  std::string text;
  std::array<char, 256> buffer{};
  while (text.find(wanted) == std::string::npos) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count <= 0) return text + " (no more text)";
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return text;
}

TEST(Terminal, ColorsNeedATerminalThatWantsThem) {
  const PseudoTerminal terminal;
  ASSERT_GE(terminal.screen(), 0);
  const StderrTo screen(terminal.screen());
  const testing::EnvironmentVariable kind("TERM", "xterm");
  {
    const testing::EnvironmentVariable color("NO_COLOR", "");
    EXPECT_TRUE(stderr_is_terminal());
    EXPECT_TRUE(stderr_has_color());
  }
  {
    const testing::EnvironmentVariable color("NO_COLOR", "1");
    EXPECT_TRUE(stderr_is_terminal());  // lines may still be redrawn
    EXPECT_FALSE(stderr_has_color());
  }
  const testing::EnvironmentVariable dumb("TERM", "dumb");
  EXPECT_FALSE(stderr_is_terminal());
  EXPECT_FALSE(stderr_has_color());
}

// In a process of its own: what cannot be written stays in the stream's buffer.
TEST(WriteStdoutDeathTest, ADeviceThatIsFullIsAStorageError) {
  const auto write_to_a_full_device = [] {
    ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO);
    try {
      write_stdout("a few bytes");
    } catch (const StorageError&) {
      ::_exit(0);
    }
    ::_exit(1);
  };
  EXPECT_EXIT(write_to_a_full_device(), ::testing::ExitedWithCode(0), "");
}

TEST(ProgressBar, WritesOneLinePerTenPercentToAPipe) {
  ::testing::internal::CaptureStderr();
  ProgressBar bar("encoding", 1000, std::chrono::milliseconds(0));
  for (std::uint64_t done = 0; done <= 1000; done += 5) bar.advance_to(done);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text,
            "encoding 10%\nencoding 20%\nencoding 30%\nencoding 40%\nencoding 50%\n"
            "encoding 60%\nencoding 70%\nencoding 80%\nencoding 90%\nencoding 100%\n");
}

TEST(ProgressBar, ShortJobWritesOnlyItsEndToAPipe) {
  ::testing::internal::CaptureStderr();
  ProgressBar bar("encoding", 1000, std::chrono::hours(1));
  for (std::uint64_t done = 0; done <= 1000; done += 5) bar.advance_to(done);
  bar.finish();
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, StartsWith("encoding done in "));
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
}

TEST(ProgressBar, IsRedrawnInPlaceOnATerminalAndGoesAway) {
  const PseudoTerminal terminal;
  ASSERT_GE(terminal.screen(), 0);
  const StderrTo screen(terminal.screen());
  const testing::EnvironmentVariable kind("TERM", "xterm");
  {
    ProgressBar bar("encoding", 200);
    bar.advance_to(100);
  }
  clear_status_line();  // nothing is left to clear
  std::fputs("END", stderr);
  const std::string text = read_until(terminal.keyboard(), "END");
  EXPECT_THAT(text, StartsWith("\rencoding [..............................] 0% eta ?\033[K"
                               "\rencoding [###############...............] 50% eta "));
  EXPECT_THAT(text, EndsWith("s\033[K\r\033[KEND"));
}

TEST(Activity, SaysOnATerminalThatTheJobStillRuns) {
  const PseudoTerminal terminal;
  ASSERT_GE(terminal.screen(), 0);
  const StderrTo screen(terminal.screen());
  const testing::EnvironmentVariable kind("TERM", "xterm");
  std::string text;
  {
    const Activity activity("training", std::chrono::milliseconds(1));
    text = read_until(terminal.keyboard(), "s\033[K");
  }
  EXPECT_THAT(text, StartsWith("\rtraining: "));
  std::fputs("END", stderr);
  EXPECT_THAT(read_until(terminal.keyboard(), "END"), EndsWith("\r\033[KEND"));
}

TEST(Activity, WritesLinesToAPipeAndNothingForAShortJob) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  {
    const StderrTo writer(pipe[1]);
    { const Activity activity("training"); }
    std::fputs("START ", stderr);
    EXPECT_EQ(read_until(pipe[0], "START "), "START ");
    const Activity activity("training", std::chrono::milliseconds(1));
    const std::string text = read_until(pipe[0], "\n");
    EXPECT_THAT(text, StartsWith("training: "));
    EXPECT_THAT(text, HasSubstr("s so far\n"));
  }
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(ParseBytes, ReadsSizesAsTheyAreWritten) {
  EXPECT_EQ(parse_bytes("80GiB"), 80ULL << 30U);
  EXPECT_EQ(parse_bytes("80G"), 80ULL << 30U);
  EXPECT_EQ(parse_bytes("80 gib"), 80ULL << 30U);
  EXPECT_EQ(parse_bytes("80GB"), 80'000'000'000ULL);
  EXPECT_EQ(parse_bytes("1.5K"), 1536U);
  EXPECT_EQ(parse_bytes("512"), 512U);
  EXPECT_EQ(parse_bytes("512B"), 512U);
  EXPECT_EQ(parse_bytes("2T"), 2ULL << 40U);
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "G", "lots", "80X", "80GiBs", "80  G", "-1G", "0", "0G", "nan",
                           "inf", "1e3", "80Gi", "99999999P", "0.1"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace switchyard
