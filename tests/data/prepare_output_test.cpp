// What `prepare` may and may not remove, wherever its output leads.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "data/output_folder.h"
#include "support/temporary_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

class PrepareOutput : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) {
    fs::create_directories((folder_ / name).parent_path());
    write_file_atomically(folder_ / name, content);
    return (folder_ / name).string();
  }
  PrepareReport prepare_into(const std::string& output, std::vector<std::string> inputs,
                             bool overwrite = true) {
    PrepareOptions options;
    options.inputs = std::move(inputs);
    options.tokenizer = "bytes";
    options.output = folder_ / output;
    options.overwrite = overwrite;
    return prepare(options);
  }
  // What a run leaves that is killed while it prepares into "out".
  [[nodiscard]] fs::path left_by_a_killed_run() const {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const OutputFolder output(folder_ / "out", true);
      const std::string name = output.temporary().string();
      ::_exit(::write(ends[1], name.data(), name.size()) < 0 ? 1 : 0);
    }
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
    std::string name(4096, '\0');
    name.resize(static_cast<std::size_t>(::read(ends[0], name.data(), name.size())));
    ::close(ends[0]);
    ::close(ends[1]);
    EXPECT_TRUE(fs::is_directory(name)) << name;
    return name;
  }
  [[nodiscard]] std::int64_t tokens_in(const std::string& name) const {
    return open_prepared(folder_ / name).sidecar().train.tokens;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(PrepareOutput, OverwritingRemovesNothingButTheDataSet) {
  const std::string book = file("dd/book.txt", "a book of some length\n");
  (void)prepare_into("first", {book});
  for (const auto& entry : fs::directory_iterator(folder_ / "first")) {
    fs::copy(entry.path(), folder_ / "dd");
  }
  file("dd/run1/metrics.jsonl", "{}\n");
  file("dd/.hidden", "mine");
  file("dd/tokenizer.model", "of an older data set");
  (void)prepare_into("dd", {book, file("more.txt", "more text\n")});
  EXPECT_EQ(read_file(book), "a book of some length\n");
  EXPECT_EQ(read_file(folder_ / "dd/run1/metrics.jsonl"), "{}\n");
  EXPECT_EQ(read_file(folder_ / "dd/.hidden"), "mine");
  EXPECT_FALSE(fs::exists(folder_ / "dd/tokenizer.model")) << "a mixture of two data sets";
  EXPECT_GT(tokens_in("dd"), tokens_in("first"));
}

TEST_F(PrepareOutput, TheFolderItselfMayBeTheInput) {
  file("dd/book.txt", "a book\n");
  (void)prepare_into("elsewhere", {file("x.txt", "x\n")});
  for (const auto& entry : fs::directory_iterator(folder_ / "elsewhere")) {
    fs::copy(entry.path(), folder_ / "dd");
  }
  (void)prepare_into("dd", {(folder_ / "dd").string()});
  EXPECT_EQ(read_file(folder_ / "dd/book.txt"), "a book\n");
}

TEST_F(PrepareOutput, AnInputThatWouldBeReplacedIsRefused) {
  (void)prepare_into("dd", {file("a.txt", "text\n")});
  const std::string before = read_file(folder_ / "dd/tokenizer.json");
  EXPECT_THAT([&] { (void)prepare_into("dd", {(folder_ / "dd/tokenizer.json").string()}); },
              ThrowsMessage<UsageError>(HasSubstr("part of the data set")));
  EXPECT_EQ(read_file(folder_ / "dd/tokenizer.json"), before);
}

// Met only when its file gets its place, it would be an error although the new data set is in use.
TEST_F(PrepareOutput, AFolderWhereAFileGoesIsRefusedBeforeTheWork) {
  const std::string book = file("book.txt", "a book of some length\n");
  (void)prepare_into("out", {book});
  const std::string before = read_file(folder_ / "out/data.json");
  fs::create_directories(folder_ / "out/tokenizer.model/mine");
  EXPECT_THAT(
      [&] {
        (void)prepare_into("out", {book, file("more.txt", "more text\n")});
      },
      ThrowsMessage<UsageError>(HasSubstr("out/tokenizer.model is a folder")));
  EXPECT_EQ(read_file(folder_ / "out/data.json"), before);
  EXPECT_FALSE(fs::exists(folder_ / "out" / config::kIncomingFolderName));
}

TEST_F(PrepareOutput, LinksToFoldersStayLinks) {
  const std::string book = file("book.txt", "a book\n");
  fs::create_directories(folder_ / "far/empty");
  fs::create_directory_symlink("far/empty", folder_ / "link");
  fs::create_directory_symlink("far/new", folder_ / "dangling");
  for (const char* link : {"link", "dangling"}) {
    (void)prepare_into(link, {book}, false);
    (void)prepare_into(link, {book}, true);
    (void)prepare_into(std::string(link) + "/", {book}, true);
    EXPECT_TRUE(fs::is_symlink(folder_ / link)) << link;
    EXPECT_GT(tokens_in(link), 0) << link;
  }
  EXPECT_TRUE(fs::exists(folder_ / "far/empty/data.json"));
  EXPECT_TRUE(fs::exists(folder_ / "far/new/data.json"));
}

TEST_F(PrepareOutput, ALinkToAFullFolderOrAFileIsRefusedBeforeTheWork) {
  file("full/thesis.txt", "do not lose");
  fs::create_directory_symlink("full", folder_ / "link");
  fs::create_symlink("full/thesis.txt", folder_ / "to_file");
  // The input is broken: had it been read, that would be the error.
  const std::string broken = file("broken.txt", "\xFF");
  EXPECT_THROW((void)prepare_into("link", {broken}), UsageError);
  EXPECT_THROW((void)prepare_into("to_file", {broken}), UsageError);
  EXPECT_EQ(read_file(folder_ / "full/thesis.txt"), "do not lose");
}

TEST_F(PrepareOutput, AReplacementThatWasStoppedHalfWayIsReadAndFinished) {
  const std::string book = file("book.txt", "a book\n");
  (void)prepare_into("dd", {book});
  (void)prepare_into("new", {book, file("more.txt", "more text\n")});
  // As a kill between two renames leaves it.
  const fs::path incoming = folder_ / "dd" / config::kIncomingFolderName;
  fs::rename(folder_ / "new", incoming);
  fs::rename(incoming / "train.bin", folder_ / "dd" / "train.bin");
  const std::int64_t tokens = tokens_in("dd");
  EXPECT_TRUE(config::holds_prepared_data(folder_ / "dd"));
  EXPECT_THAT([&] { (void)prepare_into("dd", {book}, false); },
              ThrowsMessage<UsageError>(HasSubstr("already holds prepared data")));
  EXPECT_FALSE(fs::exists(incoming));
  EXPECT_EQ(tokens_in("dd"), tokens);
}

TEST_F(PrepareOutput, WhatAKilledRunLeftIsRemoved) {
  const fs::path left = left_by_a_killed_run();
  (void)prepare_into("out", {file("book.txt", "a book\n")});
  EXPECT_FALSE(fs::exists(left));
}

// The number of a process says nothing in another container; its lock does.
TEST_F(PrepareOutput, WhatAnotherProcessHasLockedStays) {
  const fs::path left = left_by_a_killed_run();
  const int held = ::open(left.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(held, LOCK_EX | LOCK_NB), 0);
  {
    const OutputFolder next(folder_ / "out", true);
    EXPECT_TRUE(fs::exists(left));
  }
  ::close(held);
  const OutputFolder next(folder_ / "out", true);
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(PrepareOutput, AnotherProcessOfTheSameNumberGetsAFolderOfItsOwn) {
  const OutputFolder one(folder_ / "out", true);
  {
    const OutputFolder other(folder_ / "out", true);
    EXPECT_NE(other.temporary(), one.temporary());
  }
  EXPECT_TRUE(fs::exists(one.temporary()));
}

// Whose locks may not be known here.
TEST_F(PrepareOutput, WhatMayBeOfAnotherMachineStays) {
  const std::vector<std::string> names = {".out.partial-999999999-00000000-0",
                                          ".out.partial-999999999"};
  for (const std::string& name : names) fs::create_directories(folder_ / name);
  const OutputFolder next(folder_ / "out", true);
  for (const std::string& name : names) EXPECT_TRUE(fs::exists(folder_ / name)) << name;
}

TEST_F(PrepareOutput, ANameThatIsTooLongIsRefusedInWords) {
  const std::string book = file("book.txt", "a book\n");
  EXPECT_THAT([&] { (void)prepare_into(std::string(300, 'n'), {book}); },
              ThrowsMessage<StorageError>(
                  AllOf(StartsWith("cannot look at /"), HasSubstr("File name too long"))));
  const std::string longest(255, 'n');
  (void)prepare_into(longest, {book});
  EXPECT_GT(tokens_in(longest), 0);
}

TEST_F(PrepareOutput, WhatFailsLeavesTheOldDataSetAsItWas) {
  (void)prepare_into("dd", {file("a.txt", "text\n")});
  const std::string before = read_file(folder_ / "dd/data.json");
  EXPECT_THROW((void)prepare_into("dd", {file("bad.txt", "\xFF")}), DataError);
  EXPECT_EQ(read_file(folder_ / "dd/data.json"), before);
  EXPECT_GT(tokens_in("dd"), 0);
  for (const auto& entry : fs::directory_iterator(folder_ / "dd")) {
    EXPECT_FALSE(entry.is_directory()) << entry.path();
  }
}

}  // namespace
}  // namespace switchyard::data
