#include "switchyard/core/output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;

std::string at(const fs::path& path) {
  return path.string();
}

TEST(Output, AFileIsReplacedAndKeepsItsPermissions) {
  const testing::TemporaryFolder folder;
  const fs::path file = folder / "page";
  write_file_atomically(file, "old");
  for (const mode_t mode : {0640U, 0666U}) {  // the usual umask would take from the second
    ASSERT_EQ(::chmod(file.c_str(), mode), 0);
    struct stat before {};
    struct stat after {};
    ASSERT_EQ(::stat(file.c_str(), &before), 0);
    EXPECT_EQ(write_output(at(file), "new"), Written::kFile);
    ASSERT_EQ(::stat(file.c_str(), &after), 0);
    EXPECT_EQ(read_file(file), "new");
    EXPECT_EQ(after.st_mode & 07777, mode);
    EXPECT_NE(after.st_ino, before.st_ino) << "written in place: a full disk would have lost it";
  }
  EXPECT_EQ(write_output(at(folder / "another"), "x"), Written::kFile);
}

// As programs with an event loop hand it to those that they start.
TEST(Output, APipeThatDoesNotWaitGetsEverything) {
  int ends[2] = {};
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  const std::string page(std::size_t{1} << 20U, 'x');  // more than it holds
  std::string read;
  std::thread reader([&] {
    std::string part(std::size_t{1} << 16U, '\0');
    for (ssize_t count = 0; (count = ::read(ends[0], part.data(), part.size())) > 0;) {
      read.append(part, 0, static_cast<std::size_t>(count));
    }
  });
  EXPECT_NO_THROW((void)write_output("/proc/self/fd/" + std::to_string(ends[1]), page));
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  EXPECT_EQ(read.size(), page.size());
}

TEST(Output, ALinkStaysAndWhatItLeadsToIsWritten) {
  const testing::TemporaryFolder folder;
  fs::create_directories(folder / "far");
  write_file_atomically(folder / "far/there", "old");
  fs::create_symlink("far/there", folder / "link");
  fs::create_symlink("link", folder / "link_to_link");
  fs::create_symlink("far/not_yet", folder / "dangling");
  EXPECT_EQ(write_output(at(folder / "link_to_link"), "new"), Written::kFile);
  EXPECT_EQ(write_output(at(folder / "dangling"), "made"), Written::kFile);
  for (const char* link : {"link", "link_to_link", "dangling"}) {
    EXPECT_TRUE(fs::is_symlink(folder / link)) << link;
  }
  EXPECT_EQ(read_file(folder / "far/there"), "new");
  EXPECT_EQ(read_file(folder / "far/not_yet"), "made");
}

TEST(Output, ADeviceStaysADevice) {
  const testing::TemporaryFolder folder;
  fs::create_symlink("/dev/null", folder / "null");
  EXPECT_EQ(write_output(at(folder / "null"), "nothing"), Written::kStream);
  EXPECT_EQ(write_output("/dev/null", "nothing"), Written::kStream);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_TRUE(fs::is_symlink(folder / "null"));
  EXPECT_THROW(write_output("/dev/full", "no room"), StorageError);
}

TEST(Output, AFifoHandsTheBytesToItsReader) {
  const testing::TemporaryFolder folder;
  const fs::path fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const std::string text(300000, 'x');  // more than a pipe holds
  std::string received;
  std::thread reader([&] {
    std::ifstream in(fifo, std::ios::binary);
    received.assign(std::istreambuf_iterator<char>(in), {});
  });
  EXPECT_EQ(write_output(at(fifo), text), Written::kStream);
  reader.join();
  EXPECT_EQ(received, text);
  EXPECT_TRUE(fs::is_fifo(fifo));
}

TEST(Output, TheNameOfADescriptorGoesOnWhereTheDescriptorIs) {
  const testing::TemporaryFolder folder;
  const fs::path log = folder / "log";
  const int descriptor = ::open(log.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_EQ(::write(descriptor, "before ", 7), 7);
  const std::string name = "/dev/fd/" + std::to_string(descriptor);
  fs::create_symlink(name, folder / "link");
  EXPECT_EQ(write_output(name, "first "), Written::kStream);
  EXPECT_EQ(write_output(at(folder / "link"), "second"), Written::kStream);
  ::close(descriptor);
  EXPECT_EQ(read_file(log), "before first second");
}

TEST(Output, ADashAndDevStdoutAreStandardOutput) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(write_output("-", std::string("a\0b", 3)), Written::kStream);
  EXPECT_EQ(write_output("/dev/stdout", "c"), Written::kStream);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), std::string("a\0bc", 4));
  EXPECT_FALSE(fs::exists("-"));
}

TEST(Output, StandardOutputIsKnownByAllItsNames) {
  const testing::TemporaryFolder folder;
  fs::create_symlink("/dev/stdout", folder / "link");
  for (const std::string& name :
       {std::string("-"), std::string("/dev/fd/1"), at(folder / "link")}) {
    EXPECT_TRUE(is_standard_output(name)) << name;
  }
  for (const char* name : {"/dev/stderr", "/dev/null", "1", "absent"}) {
    EXPECT_FALSE(is_standard_output(name)) << name;
  }
}

TEST(Output, FoldersAndCirclesOfLinksAreRefused) {
  const testing::TemporaryFolder folder;
  fs::create_symlink("circle", folder / "circle");
  EXPECT_THROW(write_output(at(folder.path()), "x"), StorageError);
  EXPECT_THROW(write_output(at(folder / "circle"), "x"), StorageError);
  EXPECT_THROW(write_output(at(folder / "absent/file"), "x"), StorageError);
}

}  // namespace
}  // namespace switchyard
