#include "switchyard/core/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("switchyard_file_") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  [[nodiscard]] std::size_t num_files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

TEST_F(FileTest, WrittenBytesAreReadBack) {
  const std::string bytes("line\n\0after nul\r\n", 17);
  write_file_atomically(folder_ / "a", bytes);
  EXPECT_EQ(read_file(folder_ / "a"), bytes);
  EXPECT_EQ(num_files(), 1U);
}

TEST_F(FileTest, RewritingReplacesTheWholeFile) {
  write_file_atomically(folder_ / "a", std::string(10000, 'x'));
  write_file_atomically(folder_ / "a", "short");
  EXPECT_EQ(read_file(folder_ / "a"), "short");
}

TEST_F(FileTest, ManySmallAndOneLargeWriteKeepTheirOrder) {
  std::string expected;
  AtomicFile file(folder_ / "a");
  for (int i = 0; i < 100000; ++i) {
    const std::string piece = std::to_string(i) + ",";
    file.write(piece);
    expected += piece;
  }
  const std::string large(3 << 20, 'L');
  file.write(large);
  expected += large;
  file.write(std::string_view("end"));
  expected += "end";
  EXPECT_EQ(file.bytes_written(), expected.size());
  file.commit();
  EXPECT_EQ(read_file(folder_ / "a"), expected);
}

TEST_F(FileTest, UncommittedFileLeavesTheOldOneAndNoTemporary) {
  write_file_atomically(folder_ / "a", "old");
  {
    AtomicFile file(folder_ / "a");
    file.write(std::string_view("half of the new one"));
  }
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(num_files(), 1U);
}

TEST_F(FileTest, LeftoversOfAKilledProcessWithTheSamePidAreNoObstacle) {
  // The next names in this process's sequence, found by looking at one.
  std::string name;
  {
    const AtomicFile probe(folder_ / "a");
    name = fs::directory_iterator(folder_)->path().string();
  }
  const std::size_t dash = name.rfind('-');
  const int next = std::stoi(name.substr(dash + 1)) + 1;
  for (int i = next; i < next + 3; ++i) {
    std::ofstream(name.substr(0, dash + 1) + std::to_string(i)) << "leftover";
  }
  write_file_atomically(folder_ / "a", "new");
  EXPECT_EQ(read_file(folder_ / "a"), "new");
  EXPECT_EQ(num_files(), 4U);
}

TEST_F(FileTest, OnlyWhatIsNamedAsTemporaryFilesAreIsTakenForOne) {
  std::string name;
  {
    const AtomicFile probe(folder_ / "a.txt");
    name = fs::directory_iterator(folder_)->path().filename().string();
  }
  const auto temporary = parse_temporary_name(name);
  ASSERT_TRUE(temporary.has_value()) << name;
  EXPECT_EQ(temporary->final_name, "a.txt");
  EXPECT_EQ(temporary->process, static_cast<std::uint32_t>(::getpid()));
  EXPECT_EQ(parse_temporary_name("a.tmp-1-2.tmp-3-4").value().final_name, "a.tmp-1-2");
  for (const char* other : {"", "a.txt", ".tmp-2-1", "notes.tmp-2.md", "notes.tmp-2",
                            "notes.tmp-2-", "notes.tmp-2-1.md", "notes.tmp--2-1", "notes.tmp-2--1",
                            "notes.tmp-x-1", "notes.tmp-2-x", "a.tmp-99999999999-1"}) {
    EXPECT_FALSE(parse_temporary_name(other).has_value()) << other;
  }
}

TEST_F(FileTest, FailedRenameLeavesNoTemporary) {
  fs::create_directories(folder_ / "taken" / "inside");
  EXPECT_THROW(write_file_atomically(folder_ / "taken", "bytes"), StorageError);
  EXPECT_EQ(num_files(), 1U);
  EXPECT_TRUE(fs::is_directory(folder_ / "taken" / "inside"));
}

TEST_F(FileTest, WritingIntoAMissingFolderNamesTheFile) {
  try {
    write_file_atomically(folder_ / "missing" / "a", "bytes");
    FAIL() << "wrote into a missing folder";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), testing::EndsWith("missing/a: No such file or directory"));
  }
}

// A file size limit makes write(2) fail as a full disk does.
TEST_F(FileTest, FailedWriteKeepsTheOldFileAndRemovesTheTemporary) {
  write_file_atomically(folder_ / "a", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    write_file_atomically(folder_ / "a", std::string(100000, 'x'));
  } catch (const StorageError& error) {
    message = error.what();
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_THAT(message, testing::EndsWith("/a: File too large"));
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(num_files(), 1U);
}

TEST_F(FileTest, ReadingAMissingFileOrAFolderNamesThePath) {
  try {
    (void)read_file(folder_ / "absent");
    FAIL() << "read a missing file";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("cannot read " + folder_.string()));
    EXPECT_THAT(error.what(), testing::EndsWith("absent: No such file or directory"));
  }
  EXPECT_THROW((void)read_file(folder_), StorageError);
}

TEST_F(FileTest, FilesWithoutASizeAreReadToTheEnd) {
  EXPECT_THAT(read_file("/proc/self/status"), testing::HasSubstr("Name:"));
}

TEST_F(FileTest, AppendedBytesAreThereAtOnceAndAfterThoseOfEarlier) {
  const fs::path path = folder_ / "log";
  {
    AppendFile file(path, AppendFile::Mode::kCreateNew);
    file.write("one ");
    EXPECT_EQ(read_file(path), "one ");
  }
  AppendFile file(path, AppendFile::Mode::kContinue);
  file.write("two");
  EXPECT_EQ(read_file(path), "one two");
  EXPECT_THROW(AppendFile(path, AppendFile::Mode::kCreateNew), StorageError);
  EXPECT_EQ(read_file(path), "one two");
}

TEST_F(FileTest, WhatIsAppendedStaysOutOfOtherNamesOfTheFile) {
  write_file_atomically(folder_ / "log", "one ");
  fs::permissions(folder_ / "log", fs::perms::owner_read | fs::perms::owner_write);
  fs::create_hard_link(folder_ / "log", folder_ / "snapshot");
  fs::create_symlink("log", folder_ / "link");
  AppendFile file(folder_ / "link", AppendFile::Mode::kContinue);
  file.write("two");
  EXPECT_EQ(read_file(folder_ / "log"), "one two");
  EXPECT_EQ(read_file(folder_ / "snapshot"), "one ");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(fs::status(folder_ / "log").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(FileTest, WhatAFullDiskRefusesOfAppendedBytesFollowsOnceInOrder) {
  AppendFile file(folder_ / "log", AppendFile::Mode::kCreateNew);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{6, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  file.write("one\n");
  EXPECT_THROW(file.write("two\n"), StorageError);  // two bytes of it fit
  EXPECT_THROW(file.write("three\n"), StorageError);
  EXPECT_FALSE(file.is_complete());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  file.write("four\n");
  EXPECT_TRUE(file.is_complete());
  EXPECT_EQ(read_file(folder_ / "log"), "one\ntwo\nthree\nfour\n");
}

TEST_F(FileTest, OfAnOpenFileWhatIsLeftIsRead) {
  write_file_atomically(folder_ / "a", "first line\nthe rest\n");
  const int descriptor = ::open((folder_ / "a").c_str(), O_RDONLY);
  ASSERT_EQ(::lseek(descriptor, 11, SEEK_SET), 11);
  std::string text;
  read_to_end(descriptor, "a", [&](std::string_view part) { text += part; });
  EXPECT_EQ(text, "the rest\n");
  ::close(descriptor);
  EXPECT_THROW(read_to_end(descriptor, "a", [](std::string_view) {}), StorageError);
}

TEST_F(FileTest, ASocketThatDoesNotWaitIsReadToItsEnd) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  ASSERT_EQ(::write(ends[1], "one ", 4), 4);
  std::promise<void> has_read;
  std::jthread writer([&] {  // once there is nothing to read for the moment
    has_read.get_future().wait();
    EXPECT_EQ(::write(ends[1], "two", 3), 3);
    ::close(ends[1]);
  });
  std::string text;
  read_to_end(ends[0], "a socket", [&](std::string_view part) {
    if (text.empty()) has_read.set_value();
    text += part;
  });
  EXPECT_EQ(text, "one two");
  writer.join();
  ::close(ends[0]);
}

TEST_F(FileTest, AFolderIsPublishedOverNothingOrAnEmptyFolderOnly) {
  const auto make = [this](const std::string& name, const std::string& content) {
    fs::create_directories(folder_ / name);
    write_file_atomically(folder_ / name / "a", content);
  };
  make("first", "1");
  publish_folder(folder_ / "first", folder_ / "final");
  EXPECT_EQ(read_file(folder_ / "final" / "a"), "1");
  EXPECT_FALSE(fs::exists(folder_ / "first"));

  make("second", "2");
  EXPECT_THROW(publish_folder(folder_ / "second", folder_ / "final"), StorageError);
  EXPECT_EQ(read_file(folder_ / "final" / "a"), "1");
  EXPECT_EQ(read_file(folder_ / "second" / "a"), "2");

  fs::create_directories(folder_ / "empty");
  publish_folder(folder_ / "second", folder_ / "empty");
  EXPECT_EQ(read_file(folder_ / "empty" / "a"), "2");
}

}  // namespace
}  // namespace switchyard
