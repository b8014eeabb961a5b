// Files written after the official ones, quirks included, and what is refused.
#include "switchyard/glue/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/glue/encoding.h"

namespace switchyard::glue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Task& task_of(const std::string& name) {
  return *parse_tasks(name).front();
}

RowSet train_rows(const std::string& task, const std::string& text) {
  return parse_rows(text, "train.tsv", task_of(task), task_of(task).train, Part::train);
}

template <typename Kind>
std::string problem_of(const std::string& task, const std::string& text) {
  try {
    (void)train_rows(task, text);
  } catch (const Kind& error) {
    return error.what() + std::string(" | ") + error.hint();
  }
  return "nothing";
}

TEST(Tasks, AreNineAndFoundByAnySpelling) {
  EXPECT_EQ(all_tasks().size(), 9U);
  EXPECT_EQ(parse_tasks("all").size(), 9U);
  const auto two = parse_tasks("SST-2,sts-b");
  ASSERT_EQ(two.size(), 2U);
  EXPECT_EQ(two[0]->folder, "SST-2");
  EXPECT_TRUE(two[1]->is_regression());
  for (const Task& task : all_tasks()) {
    EXPECT_EQ(parse_tasks(task.folder).front(), &task);
    EXPECT_FALSE(task.metrics.empty());
  }
}

TEST(Tasks, AMisspeltOneIsRefusedWithTheNearest) {
  for (const auto& [list, message] : std::vector<std::pair<std::string, std::string>>{
           {"mprc", "no task 'mprc' (did you mean 'mrpc'?)"},
           {"mrpc,", "no task ''"},
           {"qnli,mrpc,qnli", "qnli is there twice"}}) {
    try {
      (void)parse_tasks(list);
      FAIL() << list;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }
}

TEST(Rows, ColaHasNoHeader) {
  const RowSet set = train_rows("cola",
                                "gj04\t1\t\tThey \"left.\n"
                                "gj04\t0\t*\tLeft they, did\n");
  ASSERT_EQ(set.rows.size(), 2U);
  EXPECT_EQ(set.rows[0].text_a, "They \"left.") << "a quote is an ordinary character";
  EXPECT_EQ(set.rows[0].label, 1.0);
  EXPECT_EQ(set.rows[1].label, 0.0);
  EXPECT_EQ(set.rows[1].line, 2U);
  // The test file has one.
  const Task& cola = task_of("cola");
  const RowSet test =
      parse_rows("index\tsentence\n7\tBill left.\n", "test.tsv", cola, cola.test[0], Part::test);
  EXPECT_EQ(test.rows[0].text_a, "Bill left.");
  EXPECT_EQ(test.rows[0].index, "7");
}

TEST(Rows, MrpcBeginsWithAByteOrderMark) {
  const RowSet set = train_rows(
      "mrpc",
      "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t70\t71\tA b .\tA c .\r\n");
  ASSERT_EQ(set.rows.size(), 1U);
  EXPECT_EQ(set.rows[0].text_a, "A b .");
  EXPECT_EQ(set.rows[0].text_b, "A c .");
  EXPECT_EQ(set.rows[0].label, 1.0);
}

TEST(Rows, MnliTakesColumnsByNameWhereverTheyAre) {
  EXPECT_EQ(train_rows("mnli",
                       "index\tsentence1\tgenre\tlabel1\tsentence2\tgold_label\n"
                       "0\tA\tg\tneutral\tB\tcontradiction\n")
                .rows[0]
                .label,
            2.0);
  const RowSet other =
      train_rows("mnli", "gold_label\tsentence2\tsentence1\nneutral\tB\tA\nentailment\tD\tC\n");
  EXPECT_EQ(other.rows[0].text_a, "A");
  EXPECT_EQ(other.rows[0].label, 1.0);
  EXPECT_EQ(other.rows[1].label, 0.0);
}

TEST(Rows, StsbAndRteAfterTheirOfficialFormat) {
  const RowSet scores = train_rows(
      "stsb",
      "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
      "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t5.000\n"
      "1\tmain\tMSRvid\t2012\t4\tnone\tnone\tA man.\tA flute.\t1.75\n");
  EXPECT_EQ(scores.rows[0].label, 5.0);
  EXPECT_EQ(scores.rows[1].label, 1.75);
  const RowSet entails = train_rows(
      "rte",
      "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tnot_entailment\n1\tC.\tD.\tentailment\n");
  EXPECT_EQ(entails.rows[0].label, 1.0);
  EXPECT_EQ(entails.rows[1].label, 0.0);
}

TEST(Rows, ALabelMayBeWrittenAsAFraction) {
  const RowSet set = train_rows("sst2", "sentence\tlabel\ngood\t1.0\nbad\t0\nfine\t1\n");
  std::vector<double> labels;
  for (const Row& row : set.rows) labels.push_back(row.label);
  EXPECT_THAT(labels, ElementsAre(1.0, 0.0, 1.0));
}

TEST(Rows, WhatIsWrongIsNamedByFileAndLine) {
  const auto data = problem_of<DataError>;
  EXPECT_THAT(data("sst2", "sentence\tlabel\ngood\t1\nbad\tnegative\n"),
              HasSubstr("train.tsv:3: unknown label 'negative', expected 0 or 1"));
  EXPECT_THAT(data("sst2", "sentence\tlabel\ngood\t2\n"), HasSubstr("unknown label '2'"));
  EXPECT_THAT(data("stsb", "sentence1\tsentence2\tscore\na\tb\t5.1\n"),
              HasSubstr("train.tsv:2: the score is '5.1'"));
  EXPECT_THAT(data("stsb", "sentence1\tsentence2\tscore\na\tb\tnan\n"), HasSubstr("'nan'"));
  EXPECT_THAT(data("qnli", "sentence\tlabel\ngood\t1\n"),
              ::testing::AllOf(HasSubstr(":1: no column 'question'; there are: sentence, label"),
                               HasSubstr("is this a file of QNLI?")));
  EXPECT_THAT(data("cola", "sentence\tlabel\ngood\t1\n"),
              ::testing::AllOf(HasSubstr("train.tsv:1: 2 fields between tabs, expected 4"),
                               HasSubstr("is this a file of CoLA?")));
  EXPECT_THAT(data("sst2", ""), HasSubstr("train.tsv: empty"));
  EXPECT_THAT(data("cola", ""), HasSubstr("train.tsv: no rows"));
  EXPECT_THAT(data("sst2", "sentence\tlabel\n"), HasSubstr("train.tsv: no rows"));
}

TEST(Rows, AFewBrokenOnesAreLeftOutAndCounted) {
  std::string text = "sentence\tlabel\n";
  for (int i = 0; i < 300; ++i) text += i % 100 == 50 ? "no tab here\n" : "good\t1\n";
  const RowSet set = train_rows("sst2", text);
  EXPECT_EQ(set.rows.size(), 297U);
  EXPECT_EQ(set.num_broken, 3);
  EXPECT_THAT(set.broken,
              ::testing::ElementsAre(HasSubstr("train.tsv:52: 1 field between tabs, expected 2"),
                                     HasSubstr("train.tsv:152: "), HasSubstr("train.tsv:252: ")));
  text += "broken\nbroken\n";
  EXPECT_THAT(problem_of<DataError>("sst2", text), HasSubstr("5 rows broken, the first one: "));
  const Task& task = task_of("sst2");
  EXPECT_THROW((void)parse_rows("index\tsentence\n0\tso good\nbroken\n", "test.tsv", task,
                                task.test.front(), Part::test),
               DataError)
      << "every row of a test file has to be answered";
}

TEST(Rows, AFolderInTheWrongPlaceIsRefusedWithWhatItSeemsToBe) {
  namespace fs = std::filesystem;
  const testing::TemporaryFolder folder;
  fs::create_directories(folder / "SST-2");
  std::ofstream(folder / "SST-2/train.tsv") << "sentence\tlabel\ngood\t1\n";
  const auto problem = [](const fs::path& data, const std::string& name) {
    try {
      (void)read_rows(data, task_of(name), task_of(name).train, Part::train);
    } catch (const UsageError& error) {
      return error.what() + std::string(" | ") + error.hint();
    }
    return std::string("nothing");
  };
  EXPECT_EQ(problem(folder / ".", "sst2"), "nothing");
  EXPECT_THAT(problem(folder / "SST-2", "sst2"),
              HasSubstr("is the folder of one task: --data takes the one above it"));
  EXPECT_THAT(problem(folder / ".", "rte"),
              ::testing::AllOf(HasSubstr("RTE/train.tsv"), HasSubstr("holds SST-2")));
  EXPECT_THAT(problem(folder / "nowhere", "rte"), HasSubstr("docs/glue.md"));
}

TEST(Rows, TheMajorityIsTheMostFrequentClass) {
  const RowSet set = train_rows("sst2", "sentence\tlabel\na\t1\nb\t0\nc\t1\nd\t1\n");
  EXPECT_EQ(majority_of(task_of("sst2"), set.rows).label, 1U);
  EXPECT_EQ(majority_of(task_of("sst2"), set.rows).share, 0.75);
}

std::vector<std::int32_t> ids(const std::string& text) {
  std::vector<std::int32_t> list;
  for (const char c : text) {
    // In these tests `<` is cls and `>` is sep, behind the 257 pieces of the byte tokenizer.
    list.push_back(c == '<' ? 258 : c == '>' ? 259 : c);
  }
  return list;
}

EncodedSet encode(const std::string& task, const std::string& a, const std::string& b,
                  std::int64_t max_length) {
  return encode_rows(task_of(task),
                     {{.text_a = a, .text_b = b, .label = 1.0, .index = "", .line = 2}},
                     data::Tokenizer::byte_level(), {.max_length = max_length});
}

TEST(Encoding, PutsSpecialTokensAroundTexts) {
  EXPECT_EQ(encode("sst2", "abc", "", 16).rows[0].token, ids("<abc>"));
  const EncodedSet pair = encode("mrpc", "abc", "de", 16);
  EXPECT_EQ(pair.rows[0].token, ids("<abc>de>"));
  EXPECT_EQ(pair.rows[0].second, 5) << "where de begins";
  EXPECT_EQ(pair.rows[0].label, 1.0);
  EXPECT_EQ(pair.num_tokens, 8);
  EXPECT_EQ(pair.num_cut, 0);
  EXPECT_EQ(encode("mrpc", "", "", 16).rows[0].token, ids("<>>"));
}

TEST(Encoding, CutsTheLongerTextFirst) {
  EXPECT_EQ(encode("sst2", "abcdef", "", 6).rows[0].token, ids("<abcd>"));
  EXPECT_EQ(encode("mrpc", "abcdef", "gh", 8).rows[0].token, ids("<abc>gh>"));
  EXPECT_EQ(encode("mrpc", "abcdef", "gh", 8).rows[0].second, 5);
  EXPECT_EQ(encode("mrpc", "ab", "cdefgh", 8).rows[0].token, ids("<ab>cde>"));
  const EncodedSet even = encode("mrpc", "abcdef", "ghijkl", 8);
  EXPECT_EQ(even.rows[0].token, ids("<abc>gh>")) << "of two equal ones the second";
  EXPECT_EQ(even.num_cut, 1);
  EXPECT_EQ(even.longest, 8);
}

TEST(Encoding, RefusesALengthThatLeavesNothing) {
  EXPECT_EQ(encode("sst2", "abc", "", 3).rows[0].token, ids("<a>"));
  EXPECT_THROW((void)encode("sst2", "abc", "", 2), UsageError);
  EXPECT_EQ(encode("mrpc", "abc", "def", 5).rows[0].token, ids("<a>d>"));
  EXPECT_THROW((void)encode("mrpc", "abc", "def", 4), UsageError);
}

TEST(Encoding, OfADecoderIsTextsEachWithASeparatorBehindIt) {
  const auto causal = [](const std::string& task, std::int64_t max_length) {
    return encode_rows(task_of(task),
                       {{.text_a = "abc", .text_b = "de", .label = 1.0, .index = "", .line = 2}},
                       data::Tokenizer::byte_level(), {.max_length = max_length, .causal = true});
  };
  EXPECT_EQ(causal("sst2", 16).rows[0].token, (std::vector<std::int32_t>{'a', 'b', 'c', 256}));
  EXPECT_EQ(causal("mrpc", 16).rows[0].token,
            (std::vector<std::int32_t>{'a', 'b', 'c', 256, 'd', 'e', 256}));
  EXPECT_EQ(causal("mrpc", 16).rows[0].second, 4);
  EXPECT_EQ(causal("sst2", 3).rows[0].token, (std::vector<std::int32_t>{'a', 'b', 256}));
  EXPECT_THROW((void)causal("mrpc", 3), UsageError);
}

TEST(Encoding, TheFingerprintTellsTextsLabelsAndFilesApart) {
  const auto fingerprint = [](const EncodedSet& set) { return fingerprint_of({&set, 1}); };
  const EncodedSet abc = encode("sst2", "abc", "", 16);
  const std::string one = fingerprint(abc);
  EXPECT_EQ(fingerprint(encode("sst2", "abc", "", 16)), one);
  EXPECT_NE(fingerprint(encode("sst2", "abd", "", 16)), one);
  EncodedSet other = abc;
  other.rows[0].label = 0.0;
  EXPECT_NE(fingerprint(other), one);
  // The same rows, cut into files in another way.
  EncodedSet both = abc;
  both.rows.push_back(abc.rows[0]);
  EXPECT_NE(fingerprint_of(std::vector<EncodedSet>{abc, abc}),
            fingerprint_of(std::vector<EncodedSet>{both}));
}

TEST(ContentHash, IsOfTextsAndNamesOfClassesAlone) {
  const Task& mrpc = *parse_tasks("mrpc").front();
  const auto hash = [&](const Task& task, const std::vector<Row>& rows) {
    RowSet set{.file = {}, .rows = rows, .num_broken = 0, .broken = {}};
    return content_hash(task, {&set, 1});
  };
  const Row row{.text_a = "ab", .text_b = "c", .label = 1, .index = "0", .line = 2};
  Row moved = row;
  moved.line = 7;
  moved.index = "9";
  EXPECT_EQ(hash(mrpc, {row, row}), hash(mrpc, {moved, row})) << "where they are is no content";
  Row cut_elsewhere = row;
  cut_elsewhere.text_a = "a";
  cut_elsewhere.text_b = "bc";
  EXPECT_NE(hash(mrpc, {row}), hash(mrpc, {cut_elsewhere}));
  Row other = row;
  other.label = 0;
  EXPECT_NE(hash(mrpc, {row}), hash(mrpc, {other}));
  EXPECT_NE(hash(mrpc, {row, other}), hash(mrpc, {other, row})) << "the order counts";
  Task turned = mrpc;
  turned.labels = {"1", "0"};
  EXPECT_NE(hash(mrpc, {row}), hash(turned, {other})) << "F1 is of the other class";
  turned.metrics = {Metric::accuracy};
  Task accuracy = mrpc;
  accuracy.metrics = {Metric::accuracy};
  EXPECT_EQ(hash(accuracy, {row}), hash(turned, {other})) << "the same names";
  Task correlated = accuracy;
  correlated.metrics = {Metric::matthews_correlation};
  EXPECT_NE(hash(accuracy, {row}), hash(correlated, {row})) << "judged by another metric";
}

}  // namespace
}  // namespace switchyard::glue
