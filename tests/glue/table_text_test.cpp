#include "glue/files/table_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/compressed.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/format/compressed.h"
#include "switchyard/glue/rows.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TableText : public ::testing::Test {
 protected:
  // What is said of train.tsv with these bytes as SST-2's.
  [[nodiscard]] std::string problem_of(const std::string& bytes) const {
    write(bytes);
    try {
      const Task& task = *parse_tasks("sst2").front();
      (void)read_rows(folder_.path(), task, task.train, Part::train);
    } catch (const DataError& error) {
      return error.what() + std::string(" | ") + error.hint();
    }
    return "nothing";
  }

  void write(const std::string& bytes) const {
    std::filesystem::create_directories(folder_ / "SST-2");
    std::ofstream(folder_ / "SST-2/train.tsv", std::ios::binary) << bytes;
  }

  testing::TemporaryFolder folder_;
};

std::string utf16(const std::string& text) {
  std::string bytes = "\xFF\xFE";
  for (const char c : text) {
    bytes += c;
    bytes += '\0';
  }
  return bytes;
}

TEST_F(TableText, OfAnotherEncodingGetsTheCommandThatMakesTextOfIt) {
  EXPECT_THAT(problem_of(utf16("sentence\tlabel\ngood\t1\n")),
              AllOf(HasSubstr("train.tsv"), HasSubstr("UTF-16"), HasSubstr("iconv")));
  EXPECT_THAT(
      problem_of("sentence\tlabel\nna\xEFve\t1\n"),
      AllOf(HasSubstr("train.tsv: at byte 17 (line 2)"), HasSubstr("iconv -f WINDOWS-1252")));
  const std::string shift_jis = problem_of("sentence\tlabel\n\x93\xFA\x96\x7B\x8C\xEA\t1\n");
  EXPECT_THAT(shift_jis, AllOf(HasSubstr("iconv -f ENCODING"), Not(HasSubstr("LATIN1"))));
}

TEST_F(TableText, MayBeCompressed) {
  if (!format::missing_package(format::Compression::kGzip).empty()) GTEST_SKIP() << "without zlib";
  const std::string text = "sentence\tlabel\ngood\t1\n";
  write(testing::gzip_member(text));
  EXPECT_EQ(read_table((folder_ / "SST-2/train.tsv").string(), "cat > FIXED"), text);
}

TEST(CheckedField, IsOneFieldOfOneLine) {
  EXPECT_EQ(checked_field("q7 \xC3\xA9", "index", "t.tsv:2"), "q7 \xC3\xA9");
  for (const char* text : {"a\tb", "a\nb", "a\rb", "\x1B[31m", "\x7F"}) {
    try {
      (void)checked_field(text, "index", "t.tsv:2");
      FAIL() << text;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("t.tsv:2: the index '"));
    }
  }
}

TEST_F(TableText, EmptyLinesAtItsEndAreNoRowsWhereARowHasSeveralFields) {
  const auto read = [this](const std::string& bytes) {
    std::ofstream(folder_ / "t.tsv", std::ios::binary) << bytes;
    return read_table((folder_ / "t.tsv").string());
  };
  EXPECT_EQ(read("sentence\tlabel\ngood\t1\n\n\r\n\n"), "sentence\tlabel\ngood\t1\n");
  EXPECT_EQ(read("a\tb\r\n\tc\r\n\r\n"), "a\tb\r\n\tc\r\n");
  EXPECT_EQ(read("{\"text\": \"a\"}\n\n"), "{\"text\": \"a\"}\n");
  EXPECT_EQ(read("sentence\ngood\n\n"), "sentence\ngood\n\n") << "an empty text";
  EXPECT_EQ(read("a\tb\n\nc\td"), "a\tb\n\nc\td") << "in the middle it is a broken row";
  EXPECT_EQ(read("\n\n"), "\n\n");
}

}  // namespace
}  // namespace switchyard::glue
