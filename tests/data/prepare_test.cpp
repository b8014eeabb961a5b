#include "switchyard/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "data/prepare_fixture.h"
#include "data/small_text.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/format/sentencepiece_model.h"

namespace switchyard::data {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class Prepare : public PrepareFixture {
 protected:
  // The documents of a split, decoded without their separators.
  static std::vector<std::string> documents(const PreparedData& data, Split split) {
    const format::IndexedDataset& tokens = data.dataset(split);
    std::vector<std::string> result;
    for (std::int64_t d = 0; d < tokens.num_documents(); ++d) {
      const std::int64_t begin = tokens.document_begin(d);
      std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens.document_begin(d + 1) - begin));
      tokens.read(begin, data.sidecar().vocab_size, ids);
      EXPECT_EQ(ids.back(), data.tokenizer().separator_id());
      result.push_back(data.tokenizer().decode(ids));
    }
    return result;
  }
  std::vector<std::string> all_of(PrepareOptions what) {
    what.validation = 0.0;
    (void)prepare(what);
    return documents(open_prepared(what.output), Split::kTrain);
  }
};

TEST_F(Prepare, ATextFileIsOneDocumentAndItsTailIsHeldBack) {
  const std::string text = testing::small_text(4000);
  const PrepareReport report = prepare(options({file("a.txt", text)}));
  const PreparedData data = open_prepared(folder_ / "out");
  const auto train = documents(data, Split::kTrain);
  const auto validation = documents(data, Split::kValidation);
  ASSERT_EQ(train.size(), 1U);
  ASSERT_EQ(validation.size(), 1U);
  EXPECT_EQ(train[0] + validation[0], text);
  EXPECT_NEAR(static_cast<double>(validation[0].size()), 0.05 * 4000, 80);
  EXPECT_EQ(report.sidecar.train.bytes, static_cast<std::int64_t>(train[0].size()));
  EXPECT_EQ(report.sidecar.train.tokens, static_cast<std::int64_t>(train[0].size()) + 1);
  EXPECT_EQ(report.sidecar.split, "tail");
  EXPECT_TRUE(report.sidecar.lossless);
  EXPECT_DOUBLE_EQ(report.bytes_per_token, 1.0);
  EXPECT_EQ(report.samples.size(), 3U);
}

TEST_F(Prepare, ATokenizerTrainedHereSeesNothingOfTheValidationText) {
  const std::string train = testing::small_text(20000);
  std::string tail;
  while (tail.size() < 4000) tail += "zyzzyva ";
  PrepareOptions with_tail = options({file("a.txt", train + "\n" + tail)}, "bpe:400");
  with_tail.validation =
      static_cast<double>(tail.size()) / static_cast<double>(train.size() + tail.size());
  (void)prepare(with_tail);
  const PreparedData data = open_prepared(folder_ / "out");
  EXPECT_THAT(documents(data, Split::kValidation).front(), HasSubstr("zyzzyva"));
  for (std::int32_t id = 0; id < data.tokenizer().vocab_size(); ++id) {
    EXPECT_EQ(data.tokenizer().bytes_of(id, std::nullopt).find("zy"), std::string_view::npos);
  }
}

TEST_F(Prepare, ManyDocumentsAreHeldBackWhole) {
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += R"({"text": "document )" + std::to_string(i) + "\"}\n";
  const PrepareReport report = prepare(options({file("a.jsonl", lines)}));
  const PreparedData data = open_prepared(folder_ / "out");
  auto all = documents(data, Split::kTrain);
  const auto validation = documents(data, Split::kValidation);
  EXPECT_EQ(report.sidecar.split, "document");
  EXPECT_GT(validation.size(), 3U);
  for (const std::string& held_back : validation)
    EXPECT_THAT(all, ::testing::Not(Contains(held_back)));
  EXPECT_EQ(all.size() + validation.size(), 300U);
  EXPECT_EQ(report.sidecar.sources.at(0).documents, 300);
}

TEST_F(Prepare, ValidationFilesAreTakenWholeAndNothingElseIsHeldBack) {
  PrepareOptions both = options({file("a.txt", "training text\n")});
  both.validation_inputs = {file("v.txt", "held\nback\n")};
  const PrepareReport report = prepare(both);
  const PreparedData data = open_prepared(folder_ / "out");
  EXPECT_THAT(documents(data, Split::kTrain), ::testing::ElementsAre("training text\n"));
  EXPECT_THAT(documents(data, Split::kValidation), ::testing::ElementsAre("held\nback\n"));
  EXPECT_TRUE(report.sidecar.sources.at(1).validation);
}

TEST_F(Prepare, OddTextIsKeptByteForByte) {
  for (const char* tokenizer : {"bytes", "bpe:400"}) {
    const std::vector<std::string> texts{"crlf\r\nline\r\n",
                                         "nul \0 inside"s,
                                         "tabs\tand   spaces  \n\n\n",
                                         "no newline at the end",
                                         "\xE2\x96\x81 reserved \xE2\x96\x85",
                                         testing::small_text(3000)};
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      inputs.push_back(file(std::to_string(i) + ".txt", texts[i]));
    }
    PrepareOptions what = options(inputs, tokenizer);
    what.overwrite = true;
    EXPECT_EQ(all_of(what), texts) << tokenizer;
  }
}

TEST_F(Prepare, AByteOrderMarkIsDroppedWithANote) {
  PrepareOptions what = options({file("a.txt", "\xEF\xBB\xBFtext\r\n\0"s)});
  what.validation = 0.0;
  const PrepareReport report = prepare(what);
  EXPECT_THAT(report.notes, Contains(HasSubstr("dropped the byte order mark")));
  EXPECT_THAT(report.notes, Contains(HasSubstr("CRLF, kept")));
  EXPECT_THAT(report.notes, Contains(HasSubstr("1 NUL byte, kept")));
  EXPECT_THAT(documents(open_prepared(what.output), Split::kTrain),
              ::testing::ElementsAre("text\r\n\0"s));
}

TEST_F(Prepare, TextThatIsNotUtf8IsRefusedWithFileAndOffset) {
  const std::string latin = file("latin.txt", "first\nsecond caf\xE9 line\n");
  EXPECT_THAT([&] { (void)prepare(options({latin})); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("latin.txt"), HasSubstr("at byte 16"),
                                             HasSubstr("line 2"), HasSubstr("0xE9"))));
  const std::string lines = file("a.jsonl", "{\"text\": \"\xE9\"}\n");
  EXPECT_THAT([&] { (void)prepare(options({lines})); },
              ThrowsMessage<DataError>(HasSubstr("at byte 10")));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(Prepare, ALineOf50MegabytesIsFine) {
  std::string line;
  while (line.size() < (std::size_t{50} << 20)) line += "word ";
  EXPECT_TRUE(all_of(options({file("a.txt", line)})) == std::vector<std::string>{line});
  PrepareOptions jsonl = options({file("a.jsonl", "{\"text\": \"" + line + "\"}\n")});
  jsonl.overwrite = true;
  EXPECT_TRUE(all_of(jsonl) == std::vector<std::string>{line});
}

TEST_F(Prepare, EmptyFilesAreNotedAndNothingAtAllIsRefused) {
  PrepareOptions what = options({file("empty.txt", ""), file("b.txt", "text")});
  EXPECT_THAT(prepare(what).notes, Contains(HasSubstr("empty.txt: empty")));
  what.inputs = {file("empty.txt", "")};
  what.overwrite = true;
  EXPECT_THROW((void)prepare(what), DataError);
  EXPECT_EQ(open_prepared(what.output).sidecar().sources.size(), 2U)
      << "the old one is still there";
}

TEST_F(Prepare, AFolderStandsForItsTextFilesInTheOrderOfTheirPaths) {
  file("in/b.txt", "b");
  file("in/a/z.md", "z");
  file("in/a/lines.jsonl", "{\"text\": \"l\"}\n\n{\"text\": \"\"}\n");
  file("in/picture.png", "\x89PNG");
  file("in/.hidden.txt", "hidden");
  file("in/.git/c.txt", "hidden");
  PrepareOptions what = options({(folder_ / "in").string()});
  EXPECT_THAT(all_of(what), ::testing::ElementsAre("l", "z", "b"));
  what.overwrite = true;
  what.validation = 0.0;
  EXPECT_THAT(prepare(what).notes, Contains(AllOf(HasSubstr("left out 1"), HasSubstr(".png"))));
}

TEST_F(Prepare, LinksThatLeadNowhereOrInACircleAreLeftOut) {
  file("in/a.txt", "text");
  fs::create_symlink("absent.txt", folder_ / "in" / "dangling.txt");
  fs::create_symlink("circle.txt", folder_ / "in" / "circle.txt");
  fs::create_symlink("a.txt", folder_ / "in" / "again.txt");
  EXPECT_THAT(all_of(options({(folder_ / "in").string()})), ::testing::ElementsAre("text"));
  EXPECT_THROW((void)prepare(options({(folder_ / "in" / "circle.txt").string()})), UsageError);
}

TEST_F(Prepare, AFolderWithoutTextAndAMissingFileAreRefused) {
  file("in/picture.png", "x");
  EXPECT_THAT([&] { (void)prepare(options({(folder_ / "in").string()})); },
              ThrowsMessage<UsageError>(HasSubstr("holds no .txt")));
  EXPECT_THROW((void)prepare(options({(folder_ / "absent.txt").string()})), UsageError);
}

TEST_F(Prepare, OneFileGivenTwiceIsRefused) {
  const std::string a = file("in/a.txt", "text");
  EXPECT_THAT(
      [&] {
        (void)prepare(options({a, (folder_ / "in").string()}));
      },
      ThrowsMessage<UsageError>(HasSubstr("given twice")));
}

TEST_F(Prepare, APipeIsReadToItsEnd) {
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string text = testing::small_text(200000);
  std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << text; });
  const auto all = all_of(options({pipe}));
  writer.join();
  EXPECT_THAT(all, ::testing::ElementsAre(text));
  EXPECT_FALSE(fs::exists(folder_ / "out" / "spool"));
}

TEST_F(Prepare, ASeparatorCutsATextFileIntoDocuments) {
  PrepareOptions what =
      options({file("a.txt", "one\n<|end|>\ntwo\n<|end|>\r\n<|end|>three<|end|>")});
  what.document_separator = "<|end|>";
  EXPECT_THAT(all_of(what), ::testing::ElementsAre("one\n", "two\n", "three"));
}

TEST_F(Prepare, JsonlErrorsNameFileAndLine) {
  EXPECT_THAT(
      [&] { (void)prepare(options({file("a.jsonl", "{\"text\": \"a\"}\n{\"body\": 1}\n")})); },
      ThrowsMessage<DataError>(
          AllOf(HasSubstr("a.jsonl:2"), HasSubstr("no field 'text'"), HasSubstr("body"))));
  PrepareOptions body = options({file("b.data", "{\"body\": \"the text\"}\n")});
  body.format = "jsonl";
  body.text_field = "body";
  EXPECT_THAT(all_of(body), ::testing::ElementsAre("the text"));
}

TEST_F(Prepare, BadRecordsAreRefusedOrLeftOutAndCounted) {
  const std::vector<std::string> bad = {R"({"text": null})",
                                        R"({"other": "x"})",
                                        R"({"text": 7})",
                                        R"({"text": ["a", "b"]})",
                                        R"({"text": "good", "score": NaN})",
                                        R"({"text": "cut of)",
                                        R"("text")",
                                        R"({"text": "a", "text": "b"})"};
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += "{\"text\": \"good " + std::to_string(i) + "\"}\n";
  for (const std::string& record : bad) {
    lines += record + "\n";
    const std::string input = file("one.jsonl", "{\"text\": \"a\"}\n" + record + "\n");
    try {
      (void)prepare(options({input}));
      ADD_FAILURE() << record;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("one.jsonl:2"));
      EXPECT_THAT(error.hint(), HasSubstr("--skip-bad-records")) << record;
    }
  }
  lines += "{\"text\": \"caf\xE9\"}\n";  // no UTF-8
  PrepareOptions skipping = options({file("a.jsonl", lines + "\n{\"text\": \"\"}\n")});
  skipping.skip_bad_records = true;
  skipping.validation = 0.0;
  const PrepareReport report = prepare(skipping);
  EXPECT_EQ(report.sidecar.train.documents, 200);
  EXPECT_EQ(report.num_skipped, static_cast<std::int64_t>(bad.size()) + 1);
  EXPECT_THAT(report.notes, Contains(AllOf(HasSubstr("skipped 9 of 209 records"),
                                           HasSubstr("a.jsonl:201: the field 'text' is null"))));
  EXPECT_TRUE(report.warnings.empty());
  EXPECT_EQ(open_prepared(skipping.output).sidecar().sources.at(0).skipped, report.num_skipped);
}

TEST_F(Prepare, SkippingMostOrAllRecordsIsSaid) {
  PrepareOptions what = options({file("a.jsonl", "{\"body\": \"a\"}\n{\"text\": \"b\"}\n")});
  what.skip_bad_records = true;
  EXPECT_THAT(prepare(what).warnings, Contains(HasSubstr("50 % of the records were skipped")));
  what.overwrite = true;
  what.text_field = "absent";
  try {
    (void)prepare(what);
    ADD_FAILURE();
  } catch (const DataError& error) {
    EXPECT_THAT(error.hint(), AllOf(HasSubstr("skipped: 2 records"), HasSubstr("a.jsonl:1")));
  }
}

TEST_F(Prepare, TheSidecarDescribesWhatWasWritten) {
  const std::string text = testing::small_text(20000);
  const PrepareReport report = prepare(options({file("a.txt", text)}, "unigram:400"));
  const PreparedData data = open_prepared(folder_ / "out");
  const Sidecar& sidecar = data.sidecar();
  EXPECT_EQ(sidecar.tokenizer_kind, "unigram");
  EXPECT_EQ(sidecar.tokenizer_hash, data.tokenizer().hash());
  EXPECT_EQ(sidecar.vocab_size, data.tokenizer().vocab_size());
  EXPECT_EQ(sidecar.train.hash, xxh3_of_file(folder_ / "out" / "train.bin"));
  ASSERT_EQ(sidecar.sources.size(), 1U);
  EXPECT_EQ(sidecar.sources[0].bytes, static_cast<std::int64_t>(text.size()));
  EXPECT_EQ(sidecar.sources[0].hash, to_hex(xxh3(text)));
  EXPECT_EQ(data.dataset(Split::kTrain).token_type(), format::TokenType::kUint16);
  EXPECT_GT(report.bytes_per_token, 2.0);
}

TEST_F(Prepare, PreparingAgainGivesTheSameBytes) {
  const std::string input = file("a.txt", testing::small_text(30000));
  PrepareOptions what = options({input}, "bpe:400");
  (void)prepare(what);
  const std::string bin = read_file(folder_ / "out" / "train.bin");
  const std::string sidecar = read_file(folder_ / "out" / kSidecarName);
  what.overwrite = true;
  (void)prepare(what);
  EXPECT_EQ(read_file(folder_ / "out" / "train.bin"), bin);
  EXPECT_EQ(read_file(folder_ / "out" / kSidecarName), sidecar);
}

TEST_F(Prepare, ALossyTokenizerIsMarked) {
  (void)prepare(options({file("a.txt", testing::small_text(20000))}, "bpe:400"));
  format::SentencePieceModel model =
      format::parse_sentencepiece_model(read_file(folder_ / "out" / "tokenizer.model"), "x");
  model.remove_extra_whitespaces = true;
  PrepareOptions what = options({(folder_ / "a.txt").string()},
                                file("lossy.model", format::serialize_sentencepiece_model(model)));
  what.overwrite = true;
  what.inputs = {file("b.txt", "two  spaces \n")};
  const PrepareReport report = prepare(what);
  EXPECT_FALSE(report.sidecar.lossless);
  EXPECT_THAT(report.notes, Contains(HasSubstr("would not be comparable")));
  EXPECT_EQ(read_file(folder_ / "out" / "tokenizer.model"), read_file(folder_ / "lossy.model"));
}

TEST_F(Prepare, AnExistingOutputIsKeptUnlessItIsPreparedDataToOverwrite) {
  const std::string input = file("a.txt", "some text\n");
  (void)prepare(options({input}));
  EXPECT_THAT([&] { (void)prepare(options({input})); },
              ThrowsMessage<UsageError>(HasSubstr("already holds prepared data")));
  PrepareOptions precious = options({input});
  precious.output = folder_ / "precious";
  precious.overwrite = true;
  file("precious/thesis.txt", "do not lose");
  EXPECT_THROW((void)prepare(precious), UsageError);
  EXPECT_EQ(read_file(folder_ / "precious" / "thesis.txt"), "do not lose");
  fs::create_directories(folder_ / "empty");
  PrepareOptions empty = options({input});
  empty.output = folder_ / "empty";
  EXPECT_NO_THROW((void)prepare(empty));
}

TEST_F(Prepare, AFailedRunLeavesNoFolder) {
  const std::string good = file("a.txt", "good");
  EXPECT_THROW((void)prepare(options({good, file("bad.txt", "\xFF")})), DataError);
  std::size_t left = 0;
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    left += entry.is_directory() ? 1 : 0;
  }
  EXPECT_EQ(left, 0U);
}

TEST_F(Prepare, WrongOptionsAreUsageErrors) {
  const std::string input = file("a.txt", "text");
  PrepareOptions what = options({});
  EXPECT_THROW((void)prepare(what), UsageError);
  for (const double share : {-0.1, 1.0, 1.5, std::nan("")}) {
    what = options({input});
    what.validation = share;
    EXPECT_THROW((void)prepare(what), UsageError) << share;
  }
  what = options({input});
  what.split = "random";
  EXPECT_THROW((void)prepare(what), UsageError);
  what = options({input}, "wordpiece");
  EXPECT_THROW((void)prepare(what), UsageError);
  what = options({input});
  what.output = "";
  EXPECT_THROW((void)prepare(what), UsageError);
}

}  // namespace
}  // namespace switchyard::data
