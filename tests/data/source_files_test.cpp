// What `prepare` takes for text, what it says about it, and how much of it is held back.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "data/prepare_fixture.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/standard_input.h"
#include "switchyard/data/file_kind.h"
#include "switchyard/data/prepare.h"
#include "switchyard/data/text_file.h"

namespace switchyard::data {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

class Sources : public PrepareFixture {
 protected:
  PrepareOptions options(std::vector<std::string> inputs) {
    PrepareOptions result = PrepareFixture::options(std::move(inputs));
    result.overwrite = true;
    result.num_samples = 0;
    return result;
  }
  std::string hint_of(const std::string& input) {
    return PrepareFixture::hint_of(options({input}));
  }
};

std::string wide(const std::string& ascii, std::size_t width, bool little, bool mark) {
  const std::string zeros(width - 1, '\0');
  std::string bytes;
  if (mark) {
    const std::string rest(width - 2, '\0');
    bytes = little ? "\xFF\xFE" + rest : rest + "\xFE\xFF";
  }
  for (const char c : ascii) bytes += little ? std::string(1, c) + zeros : zeros + c;
  return bytes;
}

TEST(FileKind, EveryKindIsNamedWithTheCommandThatMakesTextOfIt) {
  struct Case {
    std::string bytes;
    std::string name;
    std::string command;
  };
  const std::string text = "Some text that is long enough to be told from noise.\n";
  const std::vector<Case> cases = {
      {"\x1F\x8B\x08\x00"s, "gzip", "zcat"},
      {"\x28\xB5\x2F\xFD\x24"s, "Zstandard", "zstdcat"},
      {"\xFD"s + "7zXZ\0"s, "xz", "xzcat"},
      {"BZh91AY&SY\x01"s, "bzip2", "bzcat"},
      {"PK\x03\x04\x14\x00"s + "plain.txt", "zip archive", "unzip -p"},
      {"PK\x03\x04\x14\x00"s + "[Content_Types].xml", "docx", "pandoc -f docx"},
      {"PK\x03\x04\x0A\x00"s + "mimetypeapplication/epub+zip", "EPUB", "pandoc"},
      {"PAR1\x15\x04\x15\x00"s, "Parquet", "read_parquet"},
      {"PAR1 text PAR1"s, "Parquet", "read_parquet"},
      {"%PDF-1.7\n", "PDF", "pdftotext"},
      {"{\\rtf1\\ansi hello}", "RTF", "pandoc"},
      {"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"s, "old Word", "catdoc"},
      {std::string(257, 'a') + "ustar", "tar", "tar -xOf"},
      {"7z\xBC\xAF\x27\x1C"s, "7-Zip", "7z x"},
      {wide(text, 4, true, true), "UTF-32", "iconv -f UTF-32 "},
      {wide(text, 4, false, true), "UTF-32", "iconv -f UTF-32 "},
      {wide(text, 4, true, false), "UTF-32LE", "iconv -f UTF-32LE"},
      {wide(text, 4, false, false), "UTF-32BE", "iconv -f UTF-32BE"},
      {wide(text, 2, true, true), "UTF-16", "iconv -f UTF-16 "},
      {wide(text, 2, false, true), "UTF-16", "iconv -f UTF-16 "},
      {wide(text, 2, true, false), "UTF-16LE", "iconv -f UTF-16LE"},
      {wide(text, 2, false, false), "UTF-16BE", "iconv -f UTF-16BE"},
  };
  for (const Case& each : cases) {
    const auto kind = foreign_kind(each.bytes, "it's.txt");
    ASSERT_TRUE(kind.has_value()) << each.name;
    EXPECT_THAT(kind->name, HasSubstr(each.name));
    EXPECT_THAT(kind->command, AllOf(HasSubstr(each.command), HasSubstr(R"('it'\''s.txt')")));
  }
}

TEST(FileKind, WhatHoldsNoTextIsNamedWithoutACommand) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x37\xA4\x30\xEC rest"s, "a Zstandard dictionary"},
      {"PK\x03\x04\x00\x00"s + "model/data.pkl", "a PyTorch file"},
      {"PK\x03\x04\x14\x00"s + "ids.npy", "an archive of NumPy arrays"},
      {"\x80\x02}q\x00"s, "a Python pickle"},
      {"\x80\x04\x95\x0b"s, "a Python pickle"},
      {"\x89HDF\r\n\x1A\n"s, "an HDF5 file"},
      {"GGUF\x03\0\0\0"s, "a GGUF model"}};
  for (const auto& [bytes, name] : cases) {
    const auto kind = foreign_kind(bytes, "x");
    ASSERT_TRUE(kind.has_value()) << name;
    EXPECT_EQ(kind->name, name);
    EXPECT_EQ(kind->command, "");
  }
}

TEST(FileKind, TheNameTellsWhetherWhatIsCompressedIsAnArchive) {
  const std::string xz = "\xFD"s + "7zXZ\0"s;
  EXPECT_EQ(foreign_kind(xz, "a.txz")->command, "tar -xOf a.txz");
  EXPECT_EQ(foreign_kind(xz, "a.tar.xz")->command, "tar -xOf a.tar.xz");
  EXPECT_EQ(foreign_kind(xz, "tar.txt.xz")->command, "xzcat tar.txt.xz");
}

TEST(FileKind, TextIsText) {
  for (const std::string& text :
       {""s, "a"s, "\xEF\xBB\xBFtext"s, "PK is a name"s, "PAR1 is a word\n"s, "BZhang wrote this"s,
        "7z, a program"s, "GGUF is a format"s, "Object"s, "a\0b\0"s,
        "nul \0 inside a line of some length"s, "{\"text\": 1}"s}) {
    EXPECT_FALSE(foreign_kind(text, "x").has_value()) << text;
  }
}

TEST_F(Sources, ForeignFilesAreRefusedByNameWithTheCommand) {
  EXPECT_THAT([&] { (void)prepare(options({file("a b.txt", "%PDF-1.4 rest")})); },
              ThrowsMessage<DataError>(HasSubstr("a PDF document, not text")));
  EXPECT_THAT(hint_of(file("a b.txt", wide("some text here, long enough", 4, true, true))),
              AllOf(HasSubstr("iconv -f UTF-32 -t UTF-8 '"), HasSubstr("a b.txt'"),
                    HasSubstr("| switchyard prepare --input -")));
  EXPECT_THAT(hint_of(file("c.txt", "caf\xE9 au lait")), HasSubstr("iconv -f WINDOWS-1252"));
  EXPECT_THAT(hint_of(file("c.txt", "\xE9\0\x01 binary"s)), ::testing::Not(HasSubstr("iconv")))
      << "garbage would come of it";
  // "Привет, мир" in WINDOWS-1251
  EXPECT_THAT(hint_of(file("c.txt", "\xCF\xF0\xE8\xE2\xE5\xF2, \xEC\xE8\xF0\n")),
              AllOf(HasSubstr("iconv -f ENCODING"), HasSubstr("`iconv -l`"),
                    ::testing::Not(HasSubstr("WINDOWS-1252"))));
}

TEST_F(Sources, AWholeTextThatIsNotUtf8IsRefusedInTheSameWords) {
  const std::string mark = "\xEF\xBB\xBF";
  const std::string input = file("c.txt", mark + "first\ncaf\xE9 au lait");
  const std::string words = input + ": at byte 12 (line 2): 0xE9 is not valid UTF-8";
  EXPECT_THAT([&] { (void)prepare(options({input})); }, ThrowsMessage<DataError>(HasSubstr(words)));
  try {
    (void)read_utf8_text(input, "reader");
    FAIL() << "taken as it is";
  } catch (const DataError& error) {
    EXPECT_EQ(error.what(), words);
    EXPECT_THAT(error.hint(), HasSubstr("iconv -f WINDOWS-1252 -t UTF-8 | reader"));
  }
  const WholeText whole = read_utf8_text(file("d.txt", mark + "caf\xC3\xA9\n"), "reader");
  EXPECT_EQ(whole.text, "caf\xC3\xA9\n");
  EXPECT_TRUE(whole.had_byte_order_mark);
}

TEST_F(Sources, WhatCameThroughAPipeHasNoNameInTheCommand) {
  EXPECT_THAT([] { refuse_foreign("%PDF-1.4 rest", kStandardInput, "reader", std::nullopt); },
              ThrowsMessage<DataError>(HasSubstr("standard input: a PDF document")));
  EXPECT_EQ(command_that_reads(kStandardInput, std::nullopt), "cat FILE");
}

// Standard input of this process leads to where `descriptor` does, which is closed.
class Redirected {
 public:
  explicit Redirected(int descriptor) : before_(::dup(STDIN_FILENO)) {
    EXPECT_EQ(::dup2(descriptor, STDIN_FILENO), STDIN_FILENO);
    ::close(descriptor);
  }
  ~Redirected() {
    ::close(STDIN_FILENO);
    if (before_ < 0) return;
    ::dup2(before_, STDIN_FILENO);
    ::close(before_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int before_;
};

// As in `{ read -r first; switchyard prepare --input - ...; } < book.txt`.
TEST_F(Sources, OfStandardInputWhatIsLeftIsTaken) {
  const std::string book = file("book.txt", "first line\nthe rest\n");
  for (const char* name : {"-", "/dev/stdin"}) {
    const int descriptor = ::open(book.c_str(), O_RDONLY);
    ASSERT_EQ(::lseek(descriptor, 11, SEEK_SET), 11);
    const Redirected redirected(descriptor);
    const auto sources = prepare(options({name})).sidecar.sources;
    ASSERT_EQ(sources.size(), 1U);
    EXPECT_EQ(sources[0].path, kStandardInput);
    EXPECT_EQ(sources[0].bytes, 9);
    ASSERT_EQ(::lseek(STDIN_FILENO, 11, SEEK_SET), 11);
    EXPECT_EQ(read_utf8_text(name, "reader").text, "the rest\n");
  }
}

// As some shells and services give it; it cannot be opened by name.
TEST_F(Sources, StandardInputMayBeASocket) {
  const auto with_text = [] {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    EXPECT_EQ(::write(ends[1], "some text\n", 10), 10);
    ::close(ends[1]);
    return ends[0];
  };
  {
    const Redirected redirected(with_text());
    EXPECT_EQ(prepare(options({"-"})).sidecar.sources.at(0).bytes, 10);
  }
  const Redirected redirected(with_text());
  EXPECT_EQ(read_utf8_text("-", "reader").text, "some text\n");
}

TEST_F(Sources, StandardInputGivenTwiceIsRefused) {
  const Redirected redirected(::open(file("a.txt", "text\n").c_str(), O_RDONLY));
  PrepareOptions twice = options({"-"});
  twice.validation_inputs = {"/dev/stdin"};
  EXPECT_THAT([&] { (void)prepare(twice); }, ThrowsMessage<UsageError>(HasSubstr("given twice")));
}

TEST_F(Sources, WhatWasTakenForWhatIsSaid) {
  const std::string text = "one<|endoftext|>two<|endoftext|>three\n";
  EXPECT_THAT(prepare(options({file("a.txt", text)})).notes,
              Contains(HasSubstr("'<|endoftext|>' 2 times, taken as text")));
  PrepareOptions cut = options({file("a.txt", text)});
  cut.document_separator = "<|endoftext|>";
  EXPECT_THAT(prepare(cut).notes, IsEmpty());
  cut.document_separator = "<eot>";
  EXPECT_THAT(prepare(cut).notes, Contains(HasSubstr("'<eot>' is nowhere in the text")));

  const std::string lines = "\n{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2, \"text\": \"b\"}\n";
  EXPECT_THAT(prepare(options({file("a.json", lines)})).notes,
              Contains(AllOf(HasSubstr("a.json: JSON lines by the look of it, taken as plain text"),
                             HasSubstr("--format jsonl"))));
  EXPECT_THAT(prepare(options({file("a.jsonl", lines)})).notes, IsEmpty());
  PrepareOptions asked = options({file("a.json", lines)});
  asked.format = "text";
  EXPECT_THAT(prepare(asked).notes, IsEmpty()) << "it was asked for";

  for (const char* document : {"[\n {\"text\": \"a\"},\n {\"text\": \"b\"}\n]\n",
                               "{\n  \"texts\": [\"a\", \"b\"]\n}", "[\"a\",\n\"b\"]"}) {
    EXPECT_THAT(prepare(options({file("b.json", document)})).notes,
                Contains(AllOf(HasSubstr("a JSON document by the look of it"), HasSubstr("jq -c"))))
        << document;
  }
  for (const char* plain : {"[1] A note\nand text]\n", "{curly}", "[Enter HAMLET]\nTo be\n"}) {
    EXPECT_THAT(prepare(options({file("c.txt", plain)})).notes, IsEmpty()) << plain;
  }
}

TEST_F(Sources, NotesOfManyFilesAreCountedNotRepeated) {
  for (int i = 0; i < 20; ++i) file("in/" + std::to_string(i) + ".txt", "line\r\n");
  const auto notes = prepare(options({(folder_ / "in").string()})).notes;
  EXPECT_EQ(notes.size(), 4U);
  EXPECT_THAT(notes, Contains("17 more files: lines end in CRLF, kept as they are"));
}

TEST_F(Sources, ALinkInAFolderIsTakenOnceAndSaid) {
  file("in/b.txt", "b");
  file("far/c.txt", "c");
  file("far/more/d.txt", "d");
  fs::create_symlink("b.txt", folder_ / "in" / "a.txt");
  fs::create_symlink("../far/c.txt", folder_ / "in" / "c.txt");
  fs::create_symlink("../far/c.txt", folder_ / "in" / "d.txt");
  fs::create_directory_symlink("../far/more", folder_ / "in" / "more");
  const PrepareReport report = prepare(options({(folder_ / "in").string()}));
  EXPECT_EQ(report.sidecar.sources.size(), 2U);
  EXPECT_THAT(report.notes, Contains(HasSubstr("a.txt: left out: a link to a file that is taken")));
  EXPECT_THAT(report.notes, Contains(HasSubstr("d.txt: left out: a link to a file that is taken")));
  EXPECT_THAT(report.notes, Contains(HasSubstr("more: left out: a link to a folder")));
}

TEST_F(Sources, AShareThatDocumentsDoNotAllowIsWarnedOf) {
  PrepareOptions two = options({file("a.txt", std::string(900, 'a')), file("b.txt", "short")});
  two.validation = 0.3;
  two.split = "document";
  const PrepareReport far = prepare(two);
  EXPECT_THAT(far.warnings,
              Contains(AllOf(HasSubstr("not the 30 % asked for"), HasSubstr("--split tail"))));
  EXPECT_LT(far.held_back, 0.01);
  two.split = "tail";
  const PrepareReport near = prepare(two);
  EXPECT_THAT(near.warnings, IsEmpty());
  EXPECT_NEAR(near.held_back, 0.3, 0.03);
}

TEST_F(Sources, ThousandsOfFilesTakeFewDescriptorsAndOneRecordBeyondTheFirstTenThousand) {
  constexpr int kNumFiles = 12000;
  fs::create_directories(folder_ / "in");
  for (int i = 0; i < kNumFiles; ++i) {
    AppendFile(folder_ / ("in/" + std::to_string(i) + ".txt"), AppendFile::Mode::kCreateNew)
        .write("text of file " + std::to_string(i) + "\n");
  }
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  struct rlimit few = before;
  few.rlim_cur = 100;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const PrepareReport report = prepare(options({(folder_ / "in").string()}));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(report.sidecar.train.documents + report.sidecar.validation.documents, kNumFiles);
  EXPECT_EQ(report.sidecar.sources.size(), 10001U);
  EXPECT_EQ(report.sidecar.sources.back().documents, kNumFiles - 10000);
  EXPECT_NEAR(report.held_back, 0.05, 0.005);
}

}  // namespace
}  // namespace switchyard::data
