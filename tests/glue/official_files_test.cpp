// One row of each file of GLUE under its official header: which column is read as what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/glue/rows.h"

namespace switchyard::glue {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Fields = std::map<std::string, std::string>;  // by column

constexpr const char* kQqp = "id,qid1,qid2,question1,question2,is_duplicate";
constexpr const char* kPair = "index,sentence1,sentence2,label";
constexpr const char* kMnli =
    "index,promptID,pairID,genre,sentence1_binary_parse,sentence2_binary_parse,sentence1_parse,"
    "sentence2_parse,sentence1,sentence2";

const Task& task_of(const std::string& name) {
  return *parse_tasks(name).front();
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

// Every field holds the name of its column, but for those of `fields`.
Row read_row(const Task& task, const File& file, Part part, const std::string& columns,
             const Fields& fields = {}) {
  std::string header;
  std::string row;
  for (const std::string& column : split(columns)) {
    const std::string between = header.empty() ? "" : "\t";
    const auto given = fields.find(column);
    header += between + column;
    row += between + (given == fields.end() ? column : given->second);
  }
  const RowSet set = parse_rows(header + "\n" + row + "\n", file.name, task, file, part);
  EXPECT_EQ(set.num_broken, 0);
  return set.rows.at(0);
}

void expect_texts(const Row& row, const std::string& text_a, const std::string& text_b) {
  EXPECT_EQ(row.text_a, text_a);
  EXPECT_EQ(row.text_b, text_b);
}

TEST(OfficialFiles, QqpAsksWhetherTwoQuestionsAreOne) {
  const Task& qqp = task_of("qqp");
  for (const auto& [file, part] : {std::pair{qqp.train, Part::train}, {qqp.dev.at(0), Part::dev}}) {
    const Row row = read_row(qqp, file, part, kQqp, {{"is_duplicate", "1"}});
    expect_texts(row, "question1", "question2");
    EXPECT_EQ(row.label, 1.0);
    EXPECT_EQ(read_row(qqp, file, part, kQqp, {{"is_duplicate", "0"}}).label, 0.0);
  }
}

TEST(OfficialFiles, QnliAsksWhetherASentenceAnswersAQuestion) {
  const Task& qnli = task_of("qnli");
  const std::string columns = "index,question,sentence,label";
  for (const auto& [file, part] :
       {std::pair{qnli.train, Part::train}, {qnli.dev.at(0), Part::dev}}) {
    const Row row = read_row(qnli, file, part, columns, {{"label", "not_entailment"}});
    expect_texts(row, "question", "sentence");
    EXPECT_EQ(row.label, 1.0);
    EXPECT_EQ(read_row(qnli, file, part, columns, {{"label", "entailment"}}).label, 0.0);
  }
}

TEST(OfficialFiles, WnliAsksWhetherTheSecondSentenceFollows) {
  const Task& wnli = task_of("wnli");
  for (const auto& [file, part] :
       {std::pair{wnli.train, Part::train}, {wnli.dev.at(0), Part::dev}}) {
    const Row row = read_row(wnli, file, part, kPair, {{"label", "1"}});
    expect_texts(row, "sentence1", "sentence2");
    EXPECT_EQ(row.label, 1.0);
    EXPECT_EQ(read_row(wnli, file, part, kPair, {{"label", "0"}}).label, 0.0);
  }
}

// Its rows have parses of the sentences and what single annotators said beside what counts.
TEST(OfficialFiles, MnliTrainsOnTheGoldLabelOfTwelveColumns) {
  const Task& mnli = task_of("mnli");
  const std::string columns = std::string(kMnli) + ",label1,gold_label";
  ASSERT_EQ(split(columns).size(), 12U);
  const Row row = read_row(mnli, mnli.train, Part::train, columns,
                           {{"label1", "neutral"}, {"gold_label", "contradiction"}});
  expect_texts(row, "sentence1", "sentence2");
  EXPECT_EQ(row.label, 2.0);
}

TEST(OfficialFiles, MnliIsJudgedByTheGoldLabelOfSixteenColumns) {
  const Task& mnli = task_of("mnli");
  const std::string columns = std::string(kMnli) + ",label1,label2,label3,label4,label5,gold_label";
  ASSERT_EQ(split(columns).size(), 16U);
  ASSERT_EQ(mnli.dev.size(), 2U);
  EXPECT_EQ(mnli.dev[0].name + mnli.dev[0].suffix, "dev_matched.tsv");
  EXPECT_EQ(mnli.dev[1].name + mnli.dev[1].suffix, "dev_mismatched.tsv_mm");
  for (const File& file : mnli.dev) {
    const Row row = read_row(mnli, file, Part::dev, columns,
                             {{"label1", "entailment"},
                              {"label2", "entailment"},
                              {"label3", "contradiction"},
                              {"label4", "neutral"},
                              {"label5", "contradiction"},
                              {"gold_label", "neutral"}});
    expect_texts(row, "sentence1", "sentence2");
    EXPECT_EQ(row.label, 1.0);
  }
}

struct TestFile {
  std::string task;
  std::size_t number = 0;  // of the task's test files
  std::string name;
  std::string submission;
  std::string columns;
  std::string text_a;
  std::string text_b;
  std::string index = "index";
};

const std::vector<TestFile>& test_files() {
  static const std::vector<TestFile> files = {
      {"cola", 0, "test.tsv", "CoLA.tsv", "index,sentence", "sentence", ""},
      {"sst2", 0, "test.tsv", "SST-2.tsv", "index,sentence", "sentence", ""},
      {"mrpc", 0, "test.tsv", "MRPC.tsv", "index,#1 ID,#2 ID,#1 String,#2 String", "#1 String",
       "#2 String"},
      {"stsb", 0, "test.tsv", "STS-B.tsv",
       "index,genre,filename,year,old_index,source1,source2,sentence1,sentence2", "sentence1",
       "sentence2"},
      {"qqp", 0, "test.tsv", "QQP.tsv", "id,question1,question2", "question1", "question2", "id"},
      {"mnli", 0, "test_matched.tsv", "MNLI-m.tsv", kMnli, "sentence1", "sentence2"},
      {"mnli", 1, "test_mismatched.tsv", "MNLI-mm.tsv", kMnli, "sentence1", "sentence2"},
      {"mnli", 2, "../AX/AX.tsv", "AX.tsv", "index,sentence1,sentence2", "sentence1", "sentence2"},
      {"qnli", 0, "test.tsv", "QNLI.tsv", "index,question,sentence", "question", "sentence"},
      {"rte", 0, "test.tsv", "RTE.tsv", "index,sentence1,sentence2", "sentence1", "sentence2"},
      {"wnli", 0, "test.tsv", "WNLI.tsv", "index,sentence1,sentence2", "sentence1", "sentence2"}};
  return files;
}

TEST(OfficialFiles, TestRowsAreAnsweredByTheirIndexColumn) {
  std::map<std::string, std::size_t> num_files;
  for (const TestFile& official : test_files()) {
    SCOPED_TRACE(official.submission);
    const Task& task = task_of(official.task);
    const File& file = task.test.at(official.number);
    ++num_files[official.task];
    EXPECT_EQ(file.name, official.name);
    EXPECT_EQ(file.submission, official.submission);
    const Row row = read_row(task, file, Part::test, official.columns);
    expect_texts(row, official.text_a, official.text_b);
    EXPECT_EQ(row.index, official.index);
  }
  for (const Task& task : all_tasks()) EXPECT_EQ(num_files[task.name], task.test.size());
}

TEST(OfficialFiles, ATestFileWithoutItsIndexColumnIsRefused) {
  for (const TestFile& official : test_files()) {
    SCOPED_TRACE(official.submission);
    const Task& task = task_of(official.task);
    const File& file = task.test.at(official.number);
    const std::string other = official.index == "id" ? "index" : "id";
    const std::string columns = other + official.columns.substr(official.index.size());
    EXPECT_THAT([&] { (void)read_row(task, file, Part::test, columns); },
                ThrowsMessage<DataError>(HasSubstr("no column '" + official.index + "'")));
  }
}

}  // namespace
}  // namespace switchyard::glue
