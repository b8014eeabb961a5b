// Compressed text is what is in it: for `prepare`, and for what reads a whole text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>
#include <string>
#include <vector>

#include "data/prepare_fixture.h"
#include "data/small_text.h"
#include "support/compressed.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/data/prepare.h"
#include "switchyard/data/text_file.h"

namespace switchyard::data {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using testing::gzip_member;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;
using testing::zstandard_bomb;
using testing::zstandard_frame;

class CompressedSources : public PrepareFixture {
 protected:
  void SetUp() override {
    using enum format::Compression;
    for (const auto each : {kGzip, kZstandard}) {
      const std::string package = format::missing_package(each);
      if (!package.empty()) GTEST_SKIP() << "built without " << package;
    }
  }
  PrepareOptions options(std::vector<std::string> inputs, const std::string& tokenizer = "bytes") {
    PrepareOptions result = PrepareFixture::options(std::move(inputs), tokenizer);
    result.overwrite = true;
    return result;
  }
  // The token files and the tokenizer.
  std::string prepared_bytes(const PrepareOptions& what) {
    (void)prepare(what);
    std::string bytes;
    for (const char* name : {"train.bin", "train.idx", "validation.bin", "validation.idx"}) {
      bytes += read_file(what.output / name);
    }
    return bytes + open_prepared(what.output).tokenizer().serialized();
  }
  std::string hint_of(const std::string& input) {
    return PrepareFixture::hint_of(options({input}));
  }
};

TEST_F(CompressedSources, CompressedTextGivesTheSameDataAsPlainText) {
  const std::string text = testing::small_text(30000);
  const std::string half = text.substr(0, 15000);
  for (const char* tokenizer : {"bytes", "bpe:400"}) {
    const std::string plain = prepared_bytes(options({file("a.txt", text)}, tokenizer));
    // Whatever the name says; several members are one text.
    for (const std::string& input :
         {file("a.txt.gz", gzip_member(text)), file("a.txt.zst", zstandard_frame(text)),
          file("wrong.txt", gzip_member(text)), file("wrong.gz", zstandard_frame(text)),
          file("two.gz", gzip_member(half) + gzip_member(text.substr(15000)))}) {
      EXPECT_TRUE(prepared_bytes(options({input}, tokenizer)) == plain) << input;
    }
    EXPECT_TRUE(prepared_bytes(options({file("plain.txt.gz", text)}, tokenizer)) == plain);
  }
}

TEST_F(CompressedSources, JsonLinesAndDocumentsAreFoundInside) {
  std::string lines;
  for (int i = 0; i < 150; ++i) lines += "{\"text\": \"document " + std::to_string(i) + "\"}\n";
  const std::string plain = prepared_bytes(options({file("a.jsonl", lines)}));
  EXPECT_TRUE(prepared_bytes(options({file("a.jsonl.gz", gzip_member(lines))})) == plain);
  EXPECT_TRUE(prepared_bytes(options({file("a.ndjson.zst", zstandard_frame(lines))})) == plain);
  EXPECT_TRUE(prepared_bytes(options({file("b.jsonl", gzip_member(lines))})) == plain);
  EXPECT_THAT(prepare(options({file("a.json.gz", gzip_member(lines))})).notes,
              Contains(HasSubstr("JSON lines by the look of it")));

  PrepareOptions cut = options({file("c.txt.gz", gzip_member("one<|end|>two"))});
  cut.document_separator = "<|end|>";
  cut.validation = 0.0;
  EXPECT_EQ(prepare(cut).sidecar.train.documents, 2);
}

TEST_F(CompressedSources, ASourceIsRecordedAsTheFileThatItIs) {
  const std::string text = testing::small_text(5000);
  const std::string packed = gzip_member(text);
  const Sidecar sidecar = prepare(options({file("a.txt.gz", packed)})).sidecar;
  EXPECT_EQ(sidecar.sources.at(0).bytes, static_cast<std::int64_t>(packed.size()));
  EXPECT_EQ(sidecar.sources.at(0).hash, to_hex(xxh3(packed)));
  EXPECT_EQ(sidecar.train.bytes + sidecar.validation.bytes, static_cast<std::int64_t>(text.size()));
}

TEST_F(CompressedSources, AFolderStandsForItsCompressedFilesOnce) {
  file("in/a.txt", "plain");
  file("in/a.txt.gz", gzip_member("plain"));
  file("in/b.jsonl.zst", zstandard_frame("{\"text\": \"lines\"}\n"));
  file("in/c.tar.gz", "not looked at");
  file("in/d.txt.gz", gzip_member("twice"));
  file("in/d.txt.zst", zstandard_frame("twice"));
  const PrepareReport report = prepare(options({(folder_ / "in").string()}));
  EXPECT_EQ(report.sidecar.sources.size(), 3U);
  EXPECT_THAT(report.notes,
              Contains(HasSubstr("a.txt.gz: left out: by its name it is a compressed copy")));
  EXPECT_THAT(report.notes, Contains(HasSubstr("left out 1 file with other endings: .gz")));
}

TEST_F(CompressedSources, CutOffOrDamagedFilesAreRefusedAndNothingIsWritten) {
  const std::string text = testing::small_text(5000);
  for (const std::string& packed : {gzip_member(text), zstandard_frame(text)}) {
    const std::string good = file("good.txt", text);
    const std::string cut = file("cut.gz", packed.substr(0, packed.size() - 5));
    EXPECT_THAT(
        [&] {
          (void)prepare(options({good, cut}));
        },
        ThrowsMessage<DataError>(AllOf(HasSubstr("cut.gz"), HasSubstr("cut off"))));
    EXPECT_THAT(hint_of(cut), HasSubstr("copy or download it again"));
    EXPECT_THROW((void)read_utf8_text(cut, "reader"), DataError);
  }
  std::string damaged = gzip_member(text);
  damaged[1000] = static_cast<char>(damaged[1000] ^ 1);
  EXPECT_THAT(
      [&] { (void)prepare(options({file("damaged.gz", damaged)})); },
      ThrowsMessage<DataError>(HasSubstr("damaged.gz: the gzip-compressed data is damaged")));
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    EXPECT_FALSE(entry.is_directory()) << entry.path();
  }
}

TEST_F(CompressedSources, WhatIsNoTextIsRefusedInsideToo) {
  const std::string pdf = file("a.pdf.gz", gzip_member("%PDF-1.4 rest"));
  EXPECT_THAT([&] { (void)prepare(options({pdf})); },
              ThrowsMessage<DataError>(HasSubstr("compressed, and in it a PDF document")));
  EXPECT_THAT(hint_of(pdf),
              AllOf(HasSubstr("zcat "), HasSubstr("a.pdf.gz > "), HasSubstr("then: pdftotext "),
                    HasSubstr("a.pdf - | switchyard")));
  const std::string wide = file("b.gz", gzip_member("\xFF\xFEs\0o\0m\0e\0"s));
  EXPECT_THAT(hint_of(wide), HasSubstr("iconv -f UTF-16"));
  const std::string latin = file("c.zst", zstandard_frame("caf\xE9"));
  EXPECT_THAT(hint_of(latin), AllOf(HasSubstr("zstdcat "), HasSubstr("c.zst | iconv -f WINDOWS")));
  const std::string twice = file("d.gz", gzip_member(gzip_member("text")));
  EXPECT_THAT(hint_of(twice), HasSubstr("zcat"));
}

// How much memory this process may still take, besides what is mapped from files.
class DataLimit {
 public:
  explicit DataLimit(std::size_t more) {
    EXPECT_EQ(::getrlimit(RLIMIT_DATA, &before_), 0);
    struct rlimit limit = before_;
    limit.rlim_cur = data_bytes() + more;
    EXPECT_EQ(::setrlimit(RLIMIT_DATA, &limit), 0);
  }
  ~DataLimit() { (void)::setrlimit(RLIMIT_DATA, &before_); }
  DataLimit(const DataLimit&) = delete;
  DataLimit& operator=(const DataLimit&) = delete;

 private:
  static std::size_t data_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      std::size_t kibibytes = 0;
      if (word == "VmData:" && status >> kibibytes) return kibibytes << 10U;
    }
    ADD_FAILURE() << "no VmData";
    return 0;
  }
  struct rlimit before_ {};
};

TEST_F(CompressedSources, ADocumentIsNeverInMemoryAsAWhole) {
  constexpr std::int64_t kNumBlocks = 800;  // 100 MiB, of which the ids take four times that
  PrepareOptions what = options({file("bomb.zst", zstandard_bomb('a', kNumBlocks))});
  what.validation = 0.0;
  const DataLimit limit(std::size_t{190} << 20);
  EXPECT_EQ(prepare(what).sidecar.train.bytes, kNumBlocks * (std::int64_t{1} << 17));
  EXPECT_FALSE(fs::exists(what.output / "spool"));
}

TEST_F(CompressedSources, AByteOrderMarkCountsNowhere) {
  const std::string mark = "\xEF\xBB\xBF";
  for (const std::string& input :
       {file("plain.txt", "text\r\n"), file("mark.txt", mark + "text\r\n"),
        file("mark.gz", gzip_member(mark + "text\r\n")),
        file("mark.zst", zstandard_frame(mark + "text\r\n"))}) {
    const bool marked = input.find("mark") != std::string::npos;
    const WholeText whole = read_utf8_text(input, "reader");
    EXPECT_EQ(whole.text, "text\r\n") << input;
    EXPECT_EQ(whole.had_byte_order_mark, marked) << input;
    PrepareOptions what = options({input});
    what.validation = 0.0;
    const PrepareReport report = prepare(what);
    EXPECT_EQ(report.sidecar.train.bytes, 6) << input;
    const auto dropped = Contains(HasSubstr("dropped the byte order mark"));
    if (marked) {
      EXPECT_THAT(report.notes, dropped) << input;
    } else {
      EXPECT_THAT(report.notes, Not(dropped)) << input;
    }
  }
  EXPECT_EQ(read_utf8_text(file("only.txt", mark), "reader").text, "");
}

}  // namespace
}  // namespace switchyard::data
