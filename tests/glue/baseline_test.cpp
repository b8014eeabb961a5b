// What a grid is compared with: trained in the same way and judged on the same rows, or refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "glue/finetune_fixture.h"
#include "switchyard/config/load.h"
#include "switchyard/config/values.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/glue/figures.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class FinetuneBaseline : public Finetune {
 protected:
  FinetuneBaseline() {
    pretrain();
    options_.overrides = {"finetune.epochs=1", "train.global_batch_size=8"};
  }

  // Of a run's settings, but not where it is and what its model is.
  [[nodiscard]] std::map<std::string, std::string> training_of(const std::string& run) const {
    std::map<std::string, std::string> fields;
    for (const auto& [key, value] :
         config::fields_of(config::load(folder_ / run / "config.resolved.yaml", {}).config)) {
      const bool is_model = key.starts_with("model.") && key != "model.dropout";
      if (!is_model && key != "run.dir" && key != "data.path") fields[key] = value;
    }
    return fields;
  }

  [[nodiscard]] int lines_with(const std::string& file, const std::string& part) const {
    const std::string text = read_file(folder_ / file);
    int count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
      ++count;
    }
    return count;
  }
};

TEST_F(FinetuneBaseline, IsFineTunedInTheSameWayOrReadFromItsFolder) {
  options_.baseline = folder_ / "run";
  const TaskResult first = finetune(options_)[0];
  EXPECT_EQ(first.baseline->median("accuracy"), first.seeds[0].dev[0].metrics.at("accuracy"))
      << "the same model";
  EXPECT_TRUE(fs::exists(folder_ / "out/baseline/sst2/seed-7/eval_results.json"));
  EXPECT_THAT(read_file(folder_ / "out/results.md"),
              AllOf(HasSubstr("| baseline |"), Not(HasSubstr("- SST-2, baseline"))));
  EXPECT_THAT(read_file(folder_ / "out/report.html"), HasSubstr("baseline"));
  options_.output = folder_ / "again";
  options_.baseline = folder_ / "out/baseline/";
  EXPECT_EQ(finetune(options_)[0].baseline->median("accuracy"), first.baseline->median("accuracy"));
  EXPECT_FALSE(fs::exists(folder_ / "again/baseline"));
  options_.tasks = parse_tasks("stsb");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("has no results of stsb"));
}

TEST_F(FinetuneBaseline, OfAModelFromScratchItGetsTheSettingsOfItsFile) {
  write("config.yaml",
        "run: {dir: x, seed: 3}\ndata: {path: y}\n"
        "train: {steps: 1, precision: fp64, global_batch_size: 5, early_stop_patience: 2}\n"
        "optim: {learning_rate: 0.0125, eps: 1e-7, betas: [0.8, 0.9]}\n"
        "schedule: {type: cosine, final_ratio: 0.25}\n"
        "finetune: {epochs: 2, max_length: 20, max_rows: 11}\n"
        "model: {type: encoder, hidden_size: 16, num_layers: 1, num_heads: 2, ffn_size: 16, "
        "dropout: 0.05}\n");
  options_.from.clear();
  options_.config_file = folder_ / "config.yaml";
  options_.tokenizer = "bytes";
  // The model's alone, not the baseline's.
  options_.overrides = {"optim.weight_decay=0.125", "model.hidden_size=24"};
  options_.num_seeds = 2;
  options_.baseline = folder_ / "run";
  const TaskResult result = finetune(options_)[0];
  ASSERT_TRUE(fs::exists(folder_ / "out/sst2/seed-4"));
  for (const char* seed : {"sst2/seed-3", "sst2/seed-4"}) {
    EXPECT_EQ(training_of(std::string("out/") + seed),
              training_of(std::string("out/baseline/") + seed));
  }
  EXPECT_EQ(training_of("out/baseline/sst2/seed-3").at("optim.eps"), "1e-07");
  EXPECT_TRUE(differences(figures_of(result), *result.baseline).empty());
  EXPECT_EQ(config::load(folder_ / "out/baseline/sst2/seed-3/config.resolved.yaml", {})
                .config.model.hidden_size,
            32)
      << "its own";
}

TEST_F(FinetuneBaseline, OfAnotherCheckpointItGetsTheSeedsAndTheSettingsThatNobodyGave) {
  config::Config other = config::load(folder_ / "run/config.resolved.yaml", {}).config;
  other.run = {.dir = (folder_ / "other").string(), .seed = 100, .from = {}};
  other.optim.eps = 1e-5;
  other.train.precision = "fp64";
  (void)train::pretrain(other);
  options_.baseline = folder_ / "other";
  const TaskResult result = finetune(options_)[0];
  EXPECT_EQ(training_of("out/sst2/seed-7"), training_of("out/baseline/sst2/seed-7"));
  EXPECT_TRUE(differences(figures_of(result), *result.baseline).empty());
}

// It is there to be compared with another router.
TEST_F(FinetuneBaseline, KeepsItsOwnRoutersAndTheirLosses) {
  write("settings.yaml",
        "model:\n  dropout: 0.25\n  moe:\n    loss: {load_balance: 0.5}\n    router: {type: top_k, "
        "k: 1, renormalize: false}\n"
        "optim: {eps: 1e-6}\n");
  options_.config_file = folder_ / "settings.yaml";
  options_.overrides.emplace_back("model={moe: {loss: {z: 0.25}}}");
  options_.baseline = folder_ / "run";
  (void)finetune(options_);
  const config::Config before = config::load(folder_ / "run/config.resolved.yaml", {}).config;
  const config::Config run =
      config::load(folder_ / "out/sst2/seed-7/config.resolved.yaml", {}).config;
  const config::Config baseline =
      config::load(folder_ / "out/baseline/sst2/seed-7/config.resolved.yaml", {}).config;
  EXPECT_EQ(run.model.moe.loss.z, 0.25);
  EXPECT_EQ(run.model.moe.loss.load_balance, 0.5);
  EXPECT_FALSE(run.model.moe.router == before.model.moe.router);
  EXPECT_TRUE(baseline.model.moe.router == before.model.moe.router);
  EXPECT_EQ(baseline.model.moe.loss.z, before.model.moe.loss.z);
  EXPECT_EQ(baseline.model.moe.loss.load_balance, before.model.moe.loss.load_balance);
  EXPECT_EQ(baseline.model.dropout, 0.25) << "how it is trained is the same";
  EXPECT_EQ(training_of("out/sst2/seed-7"), training_of("out/baseline/sst2/seed-7"));
}

TEST_F(FinetuneBaseline, JudgedOnOtherDevRowsItIsRefusedBeforeAnythingIsTrained) {
  (void)finetune(options_);
  options_.baseline = options_.output;
  options_.output = folder_ / "again";
  write("glue/SST-2/dev.tsv", sentences(14, "sentence\tlabel\n"));
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("sst2"), HasSubstr("judged on other dev rows"),
                                           HasSubstr("dev.tsv")));
  // As many, but another label.
  std::string rows = sentences(13, "sentence\tlabel\n");
  rows[rows.size() - 2] = rows[rows.size() - 2] == '0' ? '1' : '0';
  write("glue/SST-2/dev.tsv", rows);
  EXPECT_THAT(problem<UsageError>(), HasSubstr("judged on other dev rows"));
  EXPECT_FALSE(fs::exists(folder_ / "again"));
  write("glue/SST-2/dev.tsv", sentences(13, "sentence\tlabel\n"));
  EXPECT_EQ(problem<UsageError>(), "nothing");
}

TEST_F(FinetuneBaseline, OtherSeedsRowsAndLengthsAreSaidBesideItsFigures) {
  (void)finetune(options_);
  options_.baseline = options_.output;
  options_.output = folder_ / "again";
  options_.num_seeds = 2;
  options_.overrides = {"finetune.epochs=2", "train.global_batch_size=8", "finetune.max_rows=30",
                        "finetune.max_length=14"};
  (void)finetune(options_);
  const std::string table = read_file(folder_ / "again/results.md");
  EXPECT_THAT(table,
              AllOf(HasSubstr("- SST-2, baseline: training rows: 40, here 30"),
                    HasSubstr("- SST-2, baseline: finetune.max_length: 16, here 14"),
                    HasSubstr("- SST-2, baseline: finetune.epochs: 1, here 2"),
                    HasSubstr("- SST-2, baseline: seeds: 7, here 7, 8"), HasSubstr(" (1 seed) |")));
  const format::Json notes = json("again/results.json")[0]["baseline"]["notes"];
  EXPECT_EQ(notes.size(), 4U);
  EXPECT_THAT(read_file(folder_ / "again/log.txt"), HasSubstr("SST-2, baseline: seeds: 7, here"));
  EXPECT_THAT(read_file(folder_ / "again/report.html"), HasSubstr("baseline: training rows: 40"));
}

TEST_F(FinetuneBaseline, ThatDivergedIsSaidInTheLogTheTableAndTheJson) {
  std::vector<std::string> wild = options_.overrides;
  wild.insert(wild.end(),
              {"optim.learning_rate=1e30", "optim.clip_norm=0", "train.max_skipped_steps=1"});
  std::swap(options_.overrides, wild);
  (void)finetune(options_);
  std::swap(options_.overrides, wild);
  options_.baseline = options_.output;
  options_.output = folder_ / "again";
  (void)finetune(options_);
  constexpr const char* kNote = "SST-2, baseline: all of its seeds diverged";
  EXPECT_THAT(read_file(folder_ / "again/log.txt"), HasSubstr(kNote));
  EXPECT_THAT(read_file(folder_ / "again/results.md"),
              AllOf(HasSubstr(kNote), HasSubstr("| - (0 of 1 seed) |")));
  EXPECT_THAT(read_file(folder_ / "again/report.html"), HasSubstr(kNote));
  const format::Json result = json("again/results.json")[0];
  EXPECT_EQ(result["baseline"]["diverged"][0], true);
  EXPECT_TRUE(result["eval_accuracy"]["baseline"].is_null());
}

TEST_F(FinetuneBaseline, ItsLogEndsWithIt) {
  options_.baseline = folder_ / "run";
  (void)finetune(options_);
  EXPECT_EQ(lines_with("out/baseline/log.txt", "is the best"), 1) << "its own seed";
  EXPECT_EQ(lines_with("out/log.txt", "is the best"), 2) << "the whole command's";
}

TEST_F(FinetuneBaseline, IsNotTrainedWhereTheGridItselfWouldBeRefused) {
  options_.baseline = folder_ / "run";
  write("out/sst2/seed-7/notes.txt", "mine\n");
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("seed-7"), HasSubstr("notes.txt")));
  EXPECT_FALSE(fs::exists(folder_ / "out/baseline"));
  EXPECT_FALSE(fs::exists(folder_ / "out/finetune.json"));
  options_.baseline.clear();
  options_.output = folder_ / "run";
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("--output"), HasSubstr("is a run")));
  options_.output = folder_ / "data";
  EXPECT_THAT(problem<UsageError>(), HasSubstr("is a prepared data set"));
  options_.output = folder_ / "out";
  options_.baseline = folder_ / "out/.";
  EXPECT_THAT(problem<UsageError>(), HasSubstr("it is --output itself"));
  // Nor the grid where the baseline would be.
  fs::remove_all(folder_ / "out");
  options_.baseline = folder_ / "run";
  write("out/baseline/sst2/seed-7/notes.txt", "mine\n");
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("baseline/sst2"), HasSubstr("notes.txt")));
  EXPECT_FALSE(fs::exists(folder_ / "out/sst2"));
}

TEST_F(FinetuneBaseline, ResultsThatDoNotSayWhatTheyWereJudgedOnAreRefused) {
  (void)finetune(options_);
  options_.baseline = options_.output;
  options_.output = folder_ / "again";
  write("out/results.json", "[{\"task\": \"sst2\", \"seeds\": [7], \"diverged\": [false]}]");
  EXPECT_THAT(problem<DataError>(),
              AllOf(HasSubstr("out/results.json"), HasSubstr("earlier version"),
                    HasSubstr("what is done is only read")));
  fs::remove(folder_ / "out/results.json");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("has no results.json"));
}

}  // namespace
}  // namespace switchyard::glue
