#include "switchyard/core/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/process.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::size_t kBytes = std::size_t{1} << 20;

class MappedFileTest : public ::testing::Test {
 protected:
  MappedFileTest() { write_file_atomically(path_, std::string(kBytes, 'x')); }
  static std::size_t sum(const MappedFile& file) {
    return std::accumulate(
        file.bytes().begin(), file.bytes().end(), std::size_t{0},
        [](std::size_t sum, std::byte byte) { return sum + std::to_integer<std::size_t>(byte); });
  }

  testing::TemporaryFolder folder_;
  fs::path path_ = folder_ / "file";
};

TEST_F(MappedFileTest, ShowsTheBytesOfTheFile) {
  MappedFile file(path_);
  EXPECT_EQ(sum(file), kBytes * 'x');
  EXPECT_NO_THROW(file.check_whole());
  MappedFile other;
  EXPECT_TRUE(other.bytes().empty());
  EXPECT_NO_THROW(other.check_whole());
  other = std::move(file);
  EXPECT_EQ(sum(other), kBytes * 'x');
  write_file_atomically(path_, "");
  EXPECT_TRUE(MappedFile(path_).bytes().empty());
}

TEST_F(MappedFileTest, PartsOfAMapThatWereReleasedReadTheSameAgain) {
  std::string text(100'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 11 % 241);
  write_file_atomically(path_, text);
  const MappedFile file(path_);
  const auto bytes = file.bytes();
  for (const auto& [begin, size] : {std::pair<std::size_t, std::size_t>{0, text.size()},
                                    {1, 4095},
                                    {1, 4096},
                                    {5000, 90'000},
                                    {7, 0}}) {
    file.release(bytes.subspan(begin, size));
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), text);
  }
}

TEST_F(MappedFileTest, WhatIsCutShortWhileItIsReadIsAnErrorNotASignal) {
  for (const std::uintmax_t left : {std::uintmax_t{0}, std::uintmax_t{5000}, kBytes - 1}) {
    write_file_atomically(path_, std::string(kBytes, 'x'));
    const MappedFile file(path_);
    fs::resize_file(path_, left);
    EXPECT_EQ(sum(file), left * 'x') << "zeros stand for the rest";
    EXPECT_THAT([&] { file.check_whole(); }, ThrowsMessage<DataError>(HasSubstr(path_.string())));
    file.release(file.bytes());
    EXPECT_EQ(sum(file), left * 'x');
    const MappedFile moved_to(path_);
    EXPECT_EQ(sum(moved_to), left * 'x') << "opened again it is what it is now";
    EXPECT_NO_THROW(moved_to.check_whole());
  }
}

// As behind a server that was away for a while.
TEST_F(MappedFileTest, WhatCouldNotBeReadStaysAnErrorWhenTheFileIsWholeAgain) {
  const MappedFile file(path_);
  fs::resize_file(path_, 0);
  EXPECT_EQ(sum(file), 0U);
  fs::resize_file(path_, kBytes);
  EXPECT_THAT([&] { file.check_whole(); },
              ThrowsMessage<StorageError>(HasSubstr("cannot be read any more")));
}

// Threads beside the one that works take no signals, but for those that they cause.
TEST_F(MappedFileTest, ThreadsThatTakeNoSignalsMeetTheErrorAsWell) {
  const MappedFile file(path_);
  fs::resize_file(path_, 0);
  std::size_t read = 1;
  std::thread([&] {
    take_no_signals();
    read = sum(file);
  }).join();
  EXPECT_EQ(read, 0U);
  EXPECT_THROW(file.check_whole(), DataError);
}

TEST_F(MappedFileTest, AFileThatIsReplacedUnderItsNameStaysWhole) {
  const MappedFile file(path_);
  write_file_atomically(path_, "short");
  EXPECT_EQ(sum(file), kBytes * 'x');
  EXPECT_NO_THROW(file.check_whole());
}

TEST_F(MappedFileTest, ABusErrorOfSomethingElseStillEndsTheProcess) {
  const MappedFile file(path_);
  // A sanitizer's own handler, which is the one from before, reports it.
  EXPECT_DEATH(std::raise(SIGBUS), "");
}

TEST_F(MappedFileTest, WhatIsNoFileIsRefused) {
  EXPECT_THROW(MappedFile{folder_ / "absent"}, StorageError);
  EXPECT_THROW(MappedFile{folder_.path()}, StorageError);
  EXPECT_THROW(MappedFile{"/dev/null"}, StorageError);
}

}  // namespace
}  // namespace switchyard
