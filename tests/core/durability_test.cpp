// What neither a power cut nor a disk that refuses may cost: the order of the calls that make a
// file last, their errors, and writes of which the disk took a part.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/file_faults.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using testing::file_faults;
using testing::FileFaults;

std::vector<std::string> calls_of(const std::function<void()>& action) {
  file_faults = {.kind = FileFaults::Kind::count};
  action();
  std::vector<std::string> seen = std::move(file_faults.seen);
  file_faults = {};
  return seen;
}

// A name that a power cut leaves must lead to bytes that it leaves.
TEST(Durability, AFileIsSyncedBeforeItGetsItsNameAndItsFolderAfterwards) {
  const testing::TemporaryFolder folder;
  EXPECT_THAT(calls_of([&] { write_file_atomically(folder / "a", "text"); }),
              ElementsAre("write", "fsync", "rename", "fsync"));
}

TEST(Durability, AFolderIsSyncedBeforeItGetsItsNameAndItsParentAfterwards) {
  const testing::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "unfinished");
  EXPECT_THAT(calls_of([&] { publish_folder(folder / "unfinished", folder / "finished"); }),
              ElementsAre("fsync", "rename", "fsync"));
}

TEST(Durability, AnErrorOfAnyCallIsReportedAndLeavesAWholeFile) {
  const testing::TemporaryFolder folder;
  const auto write = [&](const std::string& text) { write_file_atomically(folder / "a", text); };
  const std::size_t num_calls = calls_of([&] { write("old"); }).size();
  for (std::size_t at = 0; at < num_calls; ++at) {
    SCOPED_TRACE("error from call " + std::to_string(at));
    write("old");
    file_faults = {
        .kind = FileFaults::Kind::error, .at = static_cast<int>(at), .error_number = EIO};
    EXPECT_THROW(write("new"), StorageError);
    file_faults = {};
    EXPECT_EQ(read_file(folder / "a"), at + 1 < num_calls ? "old" : "new");
  }
}

TEST(Durability, WritesOfWhichTheDiskTakesAPartAreContinued) {
  const testing::TemporaryFolder folder;
  AppendFile log(folder / "log", AppendFile::Mode::kCreateNew);
  file_faults = {.kind = FileFaults::Kind::short_writes};
  write_file_atomically(folder / "a", "a text of some length");
  log.write("one line\n");
  log.write("another\n");
  file_faults = {};
  EXPECT_EQ(read_file(folder / "a"), "a text of some length");
  EXPECT_EQ(read_file(folder / "log"), "one line\nanother\n");
}

}  // namespace
}  // namespace switchyard
