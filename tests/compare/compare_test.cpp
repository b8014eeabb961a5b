#include "switchyard/compare/compare.h"

#include "switchyard/compare/markdown.h"
#include "switchyard/compare/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/model/throughput.h"
#include "train/run/training_state.h"

namespace switchyard::compare {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

config::Config small_config(const std::vector<std::string>& overrides = {}) {
  return config::load_text(R"(run: {dir: runs/x}
data: {path: data/x, sequence_length: 16}
train: {steps: 100}
model:
  vocab_size: 50
  hidden_size: 8
  num_layers: 2
  num_heads: 2
  ffn_size: 16
  moe: {num_experts: 4, expert_size: 8}
)",
                           "x.yaml", overrides)
      .config;
}

telemetry::StepRecord step_record(std::int64_t step, std::int64_t tokens, double loss, double k) {
  telemetry::StepRecord record;
  record.step = step;
  record.tokens = tokens;
  record.lm_loss = loss;
  record.tokens_per_second = 1000.0 + static_cast<double>(step);
  record.routing = telemetry::RoutingRecord{.experts_per_token = k};
  return record;
}

// 1000 tokens a step, one record and one evaluation per ten steps; k falls or stays.
ComparedRun run_of(const std::string& name, std::int64_t records, double loss, double k,
                   const std::string& tokenizer = "t") {
  ComparedRun run;
  run.name = name;
  run.config = small_config();
  run.tokenizer = tokenizer;
  for (std::int64_t i = 1; i <= records; ++i) {
    const double now = loss - 0.1 * static_cast<double>(i);
    run.metrics.steps.push_back(step_record(10 * i, 10'000 * i, now, k));
    run.metrics.evaluations.push_back(
        {.step = 10 * i, .loss = now + 0.05, .bits_per_byte = now / 2});
  }
  return run;
}

TEST(Interpolated, LiesOnTheLineBetweenNeighboursAndNowhereElse) {
  const std::array<double, 3> xs{1, 3, 5};
  const std::array<double, 3> ys{10, 20, 0};
  EXPECT_EQ(interpolated(xs, ys, 1), 10);
  EXPECT_EQ(interpolated(xs, ys, 2), 15);
  EXPECT_EQ(interpolated(xs, ys, 4.5), 5);
  EXPECT_EQ(interpolated(xs, ys, 5), 0);
  EXPECT_TRUE(std::isnan(interpolated(xs, ys, 0.9)));
  EXPECT_TRUE(std::isnan(interpolated(xs, ys, 5.1)));
  EXPECT_TRUE(std::isnan(interpolated({}, {}, 1)));
}

TEST(Progress, FlopsAddUpAtTheExpertsPerTokenOfEachWindow) {
  ComparedRun run = run_of("a", 2, 4.0, 2.0);
  run.metrics.steps[1].routing->experts_per_token = 1.0;
  const model::TrainingFlops flops = model::count_training_flops(run.config.model, 16);
  const Progress progress = progress_of(run);
  const double first = 10'000 * flops.per_token(2.0);
  EXPECT_THAT(progress.tokens, ElementsAre(10'000, 20'000));
  EXPECT_THAT(progress.flops, ElementsAre(DoubleNear(first, 1),
                                          DoubleNear(first + 10'000 * flops.per_token(1.0), 1)));
  EXPECT_EQ(progress.evaluation_flops, progress.flops);
}

TEST(Progress, AnEncodersHeadCountsForTheTokensThatItGuesses) {
  ComparedRun run = run_of("a", 1, 4.0, 2.0);
  run.config.model.type = "encoder";
  run.config.data.mask_rate = 0.25;
  const model::TrainingFlops flops = model::count_training_flops(run.config.model, 16, 0.25);
  EXPECT_NEAR(progress_of(run).flops[0], 10'000 * flops.per_token(2.0), 1);
}

TEST(Progress, AnEvaluationBetweenRecordsLiesBetweenThem) {
  ComparedRun run = run_of("a", 2, 4.0, 2.0);
  run.metrics.evaluations = {{.step = 5, .loss = 3}, {.step = 15, .loss = 2}, {.step = 99}};
  const Progress progress = progress_of(run);
  EXPECT_THAT(progress.evaluation_tokens, ElementsAre(5'000, 15'000));
  EXPECT_TRUE(std::isnan(progress.bits_per_byte[0]));
}

TEST(Figure, IsInBytesWhenTokenizersDiffer) {
  const ComparedRun a = run_of("a", 2, 4, 2);
  const ComparedRun b = run_of("b", 2, 4, 2, "another");
  ComparedRun unknown = run_of("c", 2, 4, 2, "");
  EXPECT_EQ(figure_for(std::array{a, a}).kind, Figure::Kind::kValidationLoss);
  EXPECT_EQ(figure_for(std::array{a, a}).reason, "");
  EXPECT_EQ(figure_for(std::array{a, b}).kind, Figure::Kind::kBitsPerByte);
  EXPECT_THAT(figure_for(std::array{a, b}).reason, HasSubstr("different tokenizers"));
  EXPECT_EQ(figure_for(std::array{a, unknown}).kind, Figure::Kind::kBitsPerByte);
  for (auto& record : unknown.metrics.evaluations) record.bits_per_byte.reset();
  EXPECT_EQ(figure_for(std::array{a, unknown}).kind, Figure::Kind::kValidationLoss);
  EXPECT_THAT(figure_for(std::array{a, unknown}).reason, HasSubstr("do NOT compare"));
  ComparedRun young = a;
  young.metrics.evaluations.clear();
  EXPECT_EQ(figure_for(std::array{a, young}).kind, Figure::Kind::kTrainingLoss);
}

// As its metrics are read: without bits per byte.
ComparedRun with_lossy_tokenizer(ComparedRun run) {
  for (auto& record : run.metrics.evaluations) {
    record.lossless = false;
    record.bits_per_byte.reset();
  }
  return run;
}

TEST(Figure, ALossyTokenizerIsNotRankedAmongOthers) {
  const std::array runs{run_of("a", 4, 4, 2),
                        with_lossy_tokenizer(run_of("b", 4, 3, 2, "another"))};
  const Figure figure = figure_for(runs);
  EXPECT_EQ(figure.kind, Figure::Kind::kValidationLoss);
  EXPECT_FALSE(figure.comparable);
  EXPECT_THAT(figure.reason, AllOf(HasSubstr("the tokenizer loses parts of the text ('b')"),
                                   HasSubstr("do NOT compare")));
  const std::string text = comparison_markdown(runs);
  EXPECT_THAT(text, AllOf(HasSubstr("| lossy | lossy |"), Not(HasSubstr("**")),
                          Not(HasSubstr("lowest in bold"))));
  EXPECT_THAT(comparison_svg(runs), HasSubstr("NOT comparable"));
}

TEST(Figure, RunsWithOneLossyTokenizerCompareByLoss) {
  const std::array runs{with_lossy_tokenizer(run_of("a", 4, 4, 2)),
                        with_lossy_tokenizer(run_of("b", 4, 3, 2))};
  EXPECT_TRUE(figure_for(runs).comparable);
  EXPECT_THAT(comparison_markdown(runs), HasSubstr("**"));
}

TEST(Figure, LossesPerTokenOfDifferentTokenizersAreNotRanked) {
  std::array runs{run_of("a", 4, 4, 2), run_of("b", 4, 3, 2, "another")};
  for (auto& record : runs[1].metrics.evaluations) record.bits_per_byte.reset();
  EXPECT_THAT(comparison_markdown(runs), Not(HasSubstr("**")));
  runs[1].metrics.evaluations.clear();
  EXPECT_THAT(comparison_markdown(runs), Not(HasSubstr("**")));
}

TEST(ComparisonMarkdown, ShowsOnlyKeysThatDiffer) {
  std::array runs{run_of("a", 2, 4, 2), run_of("b", 2, 4, 2)};
  EXPECT_THAT(comparison_markdown(runs), HasSubstr("Nothing but the folders."));
  runs[1].config = small_config({"model.moe.router.type=top_k", "run.dir=other"});
  const std::string text = comparison_markdown(runs);
  EXPECT_THAT(text, HasSubstr("| `model.moe.router.type` | top_p | top_k |"));
  EXPECT_THAT(text, HasSubstr("| `model.moe.router.p` | 0.4 | - |"));
  EXPECT_THAT(text, Not(HasSubstr("run.dir")));
  EXPECT_THAT(text, Not(HasSubstr("model.hidden_size")));
}

TEST(ComparisonMarkdown, ComparesAtTheBudgetThatEveryRunHasReached) {
  // b trains on twice the tokens, at twice the experts: at equal tokens it is behind.
  const std::array runs{run_of("a", 4, 4.0, 1.0), run_of("b", 8, 4.2, 2.0)};
  const std::string text = comparison_markdown(runs);
  EXPECT_THAT(text, HasSubstr("| 40k | **3.6500** (k 1.00) | 3.8500 (k 2.00) |"));
  EXPECT_THAT(text, HasSubstr("| 20k | **3.8500** (k 1.00) | 4.0500 (k 2.00) |"));
  const std::string flops = text.substr(text.find("## At equal activated FLOPs"));
  const double shared = progress_of(runs[0]).flops.back();
  EXPECT_THAT(flops, HasSubstr(fmt::format("| {:.3g} | **3.6500** (k 1.00) | ", shared)));
  EXPECT_THAT(flops, Not(HasSubstr("3.8500 (k 2.00)"))) << "b is not as far at these FLOPs";
}

TEST(ComparisonMarkdown, TheBestEvaluationIsTheLowestWhereverItCame) {
  ComparedRun run = run_of("a", 3, 4.0, 1.0);
  run.metrics.evaluations = {{.step = 10, .loss = 3.0, .bits_per_byte = 1.5},
                             {.step = 20, .loss = 2.0, .bits_per_byte = 1.0},
                             {.step = 30, .loss = 2.5, .bits_per_byte = 1.25}};
  const std::string text = comparison_markdown(std::array{run, run});
  EXPECT_THAT(text, HasSubstr("| 2.5000 | 2.0000 (20) | 1.2500 | 1.0000 |"));
}

TEST(ComparisonMarkdown, WhatIsNoNumberIsNeverTheBestEvaluation) {
  ComparedRun run = run_of("a", 3, 4.0, 1.0);
  run.metrics.evaluations = {
      {.step = 10, .loss = std::nan("")}, {.step = 20, .loss = 2.0}, {.step = 30, .loss = 2.5}};
  EXPECT_THAT(comparison_markdown(std::array{run, run}), HasSubstr("| 2.5000 | 2.0000 (20) |"));
  run.metrics.evaluations.resize(1);
  EXPECT_THAT(comparison_markdown(std::array{run, run}), HasSubstr("| - | - | - | - |"));
}

TEST(NoteOnData, FoldersTellWhereNoFingerprintDoes) {
  std::array runs{run_of("a", 2, 4, 2), run_of("b", 2, 4, 2)};
  EXPECT_EQ(note_on_data(runs), "");
  runs[0].data_folders = {"/data/one", "/data/two"};
  runs[1].data_folders = {"/data/one", "/data/three"};
  EXPECT_THAT(note_on_data(runs), AllOf(HasSubstr("name different data"),
                                        HasSubstr("each is judged on its own validation split")));
  EXPECT_THAT(comparison_markdown(runs), HasSubstr(note_on_data(runs)));
  runs[0].data_fingerprint = runs[1].data_fingerprint = "00ff";
  EXPECT_EQ(note_on_data(runs), "") << "one data set in two places";
}

TEST(NoteOnData, FingerprintsTellOfAFolderWhoseTextWasReplaced) {
  std::array runs{run_of("a", 2, 4, 2), run_of("b", 2, 4, 2)};
  runs[0].data_folders = runs[1].data_folders = {"/data/one"};
  runs[0].data_fingerprint = "00ff";
  runs[1].data_fingerprint = "ff00";
  EXPECT_THAT(note_on_data(runs), AllOf(HasSubstr("trained on different data"),
                                        HasSubstr("each is judged on its own validation split")));
  // They are of the seed and of the windows as well, which are shorter for an encoder.
  for (const char* other : {"run.seed=8", "data.sequence_length=32", "model.type=encoder"}) {
    runs[1].config = small_config({other});
    EXPECT_EQ(note_on_data(runs), "") << other;
  }
}

TEST(ComparisonMarkdown, NamesCannotBreakTheTables) {
  std::array runs{run_of("a|b", 2, 4, 2), run_of("c\n`d`", 2, 4, 2)};
  const std::string text = comparison_markdown(runs);
  EXPECT_THAT(text, AllOf(HasSubstr("a\\|b"), HasSubstr("c\\\\x0a\\`d\\`")));
}

TEST(ComparisonMarkdown, RunsWithoutSharedProgressOrNumbersAreNoError) {
  std::array runs{run_of("a", 1, 4, 2), run_of("b", 1, 4, 2)};
  runs[0].metrics.steps[0] = step_record(1, 0, std::nan(""), std::nan(""));
  runs[1].metrics.steps[0].routing.reset();
  const std::string text = comparison_markdown(runs);
  EXPECT_THAT(text, HasSubstr("No budget that every run has reached."));
  EXPECT_THAT(text, HasSubstr("dense"));
  EXPECT_THAT(comparison_svg(runs), Not(HasSubstr("nan")));
}

TEST(ComparisonSvg, DrawsEveryRunInEveryPanelAndEscapesNames) {
  const std::array runs{run_of("a<b>&\"", 4, 4.0, 1.0), run_of("b", 8, 4.2, 2.0)};
  const std::string svg = comparison_svg(runs);
  EXPECT_THAT(svg, HasSubstr("a&lt;b&gt;&amp;&quot;"));
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  std::size_t curves = 0;
  for (std::size_t at = svg.find("class=\"curve\""); at != std::string::npos;
       at = svg.find("class=\"curve\"", at + 1)) {
    ++curves;
  }
  EXPECT_EQ(curves, 2U * 3U + 2U) << "three panels and the legend";
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

class ReadComparedRun : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(run_);
    write_file_atomically(run_ / config::kResolvedConfigName, config::to_yaml(small_config()));
    write_file_atomically(run_ / "metrics.jsonl",
                          "{\"step\":1,\"tokens\":100,\"lm_loss\":3.5}\n{\"step\":2,\"tok");
  }
  testing::TemporaryFolder folder_;
  fs::path run_ = folder_ / "my run";
};

TEST_F(ReadComparedRun, ReadsARunThatIsStillWriting) {
  const ComparedRun run = read_compared_run(run_.string() + "/");
  EXPECT_EQ(run.name, "my run");
  EXPECT_EQ(run.config, small_config());
  ASSERT_EQ(run.metrics.steps.size(), 1U);
  EXPECT_EQ(run.tokenizer, "");
}

TEST_F(ReadComparedRun, TellsTokenizersApartByTheirCheckpoints) {
  const fs::path step = run_ / "checkpoints" / "step-000001";
  fs::create_directories(step);
  write_file_atomically(step / "tokenizer.json", "one");
  const std::string one = read_compared_run(run_).tokenizer;
  write_file_atomically(step / "tokenizer.json", "two");
  EXPECT_NE(one, "");
  EXPECT_NE(read_compared_run(run_).tokenizer, one);
}

TEST_F(ReadComparedRun, TheDataAreWhatTheCheckpointAndTheFolderTell) {
  EXPECT_EQ(read_compared_run(run_).data_fingerprint, "");
  EXPECT_THAT(read_compared_run(run_).data_folders, ElementsAre("data/x"));
  const fs::path step = run_ / "checkpoints" / "step-000001";
  fs::create_directories(step);
  write_file_atomically(step / config::kCheckpointManifestName, "{}");
  EXPECT_EQ(read_compared_run(run_).data_fingerprint, "");
  train::TrainingState state;
  state.data_fingerprint = "00ff";
  write_file_atomically(step / "training_state.json", train::to_json(state));
  write_file_atomically(run_ / config::kDataFoldersName,
                        config::data_folders_yaml(small_config().data, run_));
  EXPECT_EQ(read_compared_run(run_).data_fingerprint, "00ff");
  EXPECT_THAT(read_compared_run(run_).data_folders,
              ElementsAre(AllOf(StartsWith("/"), EndsWith("/data/x"))));
}

TEST_F(ReadComparedRun, ABlendIsAllItsFolders) {
  config::Config blended = small_config();
  blended.data.path.clear();
  blended.data.blend = {{.path = "data/one", .weight = 2.0}, {.path = "data/two"}};
  write_file_atomically(run_ / config::kResolvedConfigName, config::to_yaml(blended));
  EXPECT_THAT(read_compared_run(run_).data_folders, ElementsAre("data/one", "data/two"));
}

TEST_F(ReadComparedRun, WithoutAStepOrAConfigIsRefused) {
  write_file_atomically(run_ / "metrics.jsonl", "");
  EXPECT_THROW((void)read_compared_run(run_), DataError);
  fs::remove(run_ / "metrics.jsonl");
  EXPECT_THROW((void)read_compared_run(run_), StorageError);
  fs::remove(run_ / config::kResolvedConfigName);
  EXPECT_THROW((void)read_compared_run(run_), config::ConfigError);
}

}  // namespace
}  // namespace switchyard::compare
