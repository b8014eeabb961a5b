// MNLI: two dev files of which the first is judged, two test files, and the diagnostic set in a
// folder beside the task's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "glue/finetune_fixture.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {
namespace {

using ::testing::HasSubstr;

// Words that decide, and the classes that they stand for.
const std::vector<std::string> kWord = {"good", "poor", "odd"};
const std::vector<std::string> kName = {"entailment", "neutral", "contradiction"};

constexpr int kNumMatched = 13;
constexpr int kNumMismatched = 10;

class FinetuneMnli : public Finetune {
 protected:
  FinetuneMnli() {
    write_labelled("train.tsv", 60, 0);
    write_labelled("dev_matched.tsv", kNumMatched, 0);
    write_labelled("dev_mismatched.tsv", kNumMismatched, 1);
    write_questions("MNLI/test_matched.tsv", matched_);
    write_questions("MNLI/test_mismatched.tsv", mismatched_);
    write_questions("AX/AX.tsv", diagnostic_);
    options_.tasks = parse_tasks("mnli");
    options_.submission = true;
    options_.overrides.insert(
        options_.overrides.end(),
        {"finetune.epochs=20", "optim.learning_rate=3e-3", "train.early_stop_patience=0"});
  }

  // Rows of a test file: what is asked, and by which index.
  struct Questions {
    int count = 0;
    int first_word = 0;
    int first_index = 0;
  };

  // Labels are those of the words turned on by `turn`: by one, what is right elsewhere is wrong.
  void write_labelled(const std::string& file, int count, int turn) const {
    std::string text = "index\tsentence1\tsentence2\tlabel1\tgold_label\n";
    for (int i = 0; i < count; ++i) {
      text += std::to_string(i) + "\t" + sentence(i, i) + "\tit is\t" + kName[0] + "\t" +
              kName[number(i + turn)] + "\n";
    }
    write("glue/MNLI/" + file, text);
  }

  void write_questions(const std::string& file, const Questions& questions) const {
    std::string text = "index\tsentence1\tsentence2\n";
    for (int i = 0; i < questions.count; ++i) {
      text += std::to_string(questions.first_index + i) + "\t" +
              sentence(questions.first_word + i, i) + "\tit is\n";
    }
    write("glue/" + file, text);
  }

  // What a model that has learned the words says of them.
  [[nodiscard]] static std::string answers(const Questions& questions) {
    std::string text = "index\tprediction\n";
    for (int i = 0; i < questions.count; ++i) {
      text += std::to_string(questions.first_index + i) + "\t" +
              kName[number(questions.first_word + i)] + "\n";
    }
    return text;
  }

  [[nodiscard]] std::string submitted(const std::string& file) const {
    return read_file(folder_ / "out/submission" / file);
  }

  // Of all evaluations of the seed, whichever checkpoint was kept.
  [[nodiscard]] double most_accurate_on_mismatched() const {
    double most = 0.0;
    std::istringstream lines(read_file(folder_ / "out/mnli/seed-7/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const format::Json record = format::parse_json(line, "metrics.jsonl");
      if (record.value("event", "") != "evaluation") continue;
      most = std::max(most, record.at("metrics").at("accuracy_mm").get<double>());
    }
    return most;
  }

  const Questions matched_{.count = 4, .first_word = 0, .first_index = 0};
  const Questions mismatched_{.count = 5, .first_word = 1, .first_index = 100};
  const Questions diagnostic_{.count = 7, .first_word = 2, .first_index = 0};

 private:
  [[nodiscard]] static std::size_t number(int word) { return static_cast<std::size_t>(word % 3); }
  // Each number stands beside all words.
  [[nodiscard]] static std::string sentence(int word, int i) {
    return "so " + kWord[number(word)] + " " + std::to_string(i / 3);
  }
};

// Of a file of predictions.
struct Judged {
  std::vector<double> labels = {};
  double num_right = 0.0;
  [[nodiscard]] double accuracy() const { return num_right / static_cast<double>(labels.size()); }
};

Judged read_predictions(const fs::path& file) {
  std::istringstream lines(read_file(file));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "index\tprediction\tlabel");
  Judged judged;
  for (double index = 0, said = 0, label = 0; lines >> index >> said >> label;) {
    judged.labels.push_back(label);
    judged.num_right += said == label ? 1 : 0;
  }
  return judged;
}

// On the mismatched rows a checkpoint is the worse the more it has learned: judged by them, the
// best would be one that knows nothing.
TEST_F(FinetuneMnli, TheMatchedRowsChooseTheCheckpointAndBothFilesAreReported) {
  pretrain();
  const TaskResult result = finetune(options_)[0];
  const SeedResult& seed = result.seeds.at(0);
  ASSERT_EQ(seed.dev.size(), 2U);
  EXPECT_GT(seed.dev[0].metrics.at("accuracy"), 0.9);
  EXPECT_LT(seed.dev[1].metrics.at("accuracy"), 0.25);
  EXPECT_GT(most_accurate_on_mismatched(), 0.25) << "there was another best one to choose";
  EXPECT_NEAR(result.majority.at("accuracy"), 5.0 / kNumMatched, 1e-12);
  EXPECT_NEAR(result.majority.at("accuracy_mm"), 4.0 / kNumMismatched, 1e-12);

  const fs::path run = folder_ / "out/mnli/seed-7";
  const Judged matched = read_predictions(run / "predictions.tsv");
  const Judged mismatched = read_predictions(run / "predictions_mm.tsv");
  std::vector<double> labels;
  for (int i = 0; i < kNumMatched; ++i) labels.push_back(i % 3);
  EXPECT_EQ(matched.labels, labels);
  labels.clear();
  for (int i = 0; i < kNumMismatched; ++i) labels.push_back((i + 1) % 3);
  EXPECT_EQ(mismatched.labels, labels);

  const format::Json saved = json("out/mnli/seed-7/eval_results.json");
  EXPECT_EQ(saved["eval_samples"], kNumMatched);
  EXPECT_EQ(saved["eval_samples_mm"], kNumMismatched);
  EXPECT_EQ(saved["eval_accuracy"].get<double>(), matched.accuracy());
  EXPECT_EQ(saved["eval_accuracy_mm"].get<double>(), mismatched.accuracy());
  EXPECT_LT(saved["eval_loss"].get<double>(), saved["eval_loss_mm"].get<double>());
  EXPECT_THAT(read_file(folder_ / "out/results.md"), HasSubstr("| MNLI | accuracy_mm |"));
}

TEST_F(FinetuneMnli, EveryTestFileIsAnsweredByNamesOfClasses) {
  pretrain();
  (void)finetune(options_);
  EXPECT_EQ(submitted("MNLI-m.tsv"), answers(matched_));
  EXPECT_EQ(submitted("MNLI-mm.tsv"), answers(mismatched_));
  EXPECT_EQ(submitted("AX.tsv"), answers(diagnostic_));
}

TEST_F(FinetuneMnli, TheDiagnosticSetMayBeMissingAndATestFileMayNot) {
  pretrain();
  options_.overrides.emplace_back("finetune.epochs=1");
  fs::rename(folder_ / "glue/MNLI/test_mismatched.tsv", folder_ / "kept.tsv");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("MNLI/test_mismatched.tsv"));
  EXPECT_FALSE(fs::exists(folder_ / "out")) << "nothing was begun";
  fs::rename(folder_ / "kept.tsv", folder_ / "glue/MNLI/test_mismatched.tsv");
  fs::remove_all(folder_ / "glue/AX");
  (void)finetune(options_);
  EXPECT_FALSE(fs::exists(folder_ / "out/submission/AX.tsv"));
  for (const auto& [file, questions] :
       std::map<std::string, Questions>{{"MNLI-m.tsv", matched_}, {"MNLI-mm.tsv", mismatched_}}) {
    std::istringstream lines(submitted(file));
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "index\tprediction");
    for (int i = 0; i < questions.count; ++i) {
      std::string index;
      std::string name;
      lines >> index >> name;
      EXPECT_EQ(index, std::to_string(questions.first_index + i)) << file;
      EXPECT_THAT(kName, ::testing::Contains(name)) << file;
    }
    EXPECT_FALSE(static_cast<bool>(lines >> line)) << file;
  }
}

}  // namespace
}  // namespace switchyard::glue
