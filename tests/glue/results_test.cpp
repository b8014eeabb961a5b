#include "switchyard/glue/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/format/json.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

const Task& task_of(const std::string& name) {
  return *parse_tasks(name).front();
}

SeedResult mnli_seed(std::uint64_t seed, double matched, double mismatched) {
  return {
      .task = "mnli",
      .seed = seed,
      .best_step = 20,
      .num_steps = 60,
      .dev = {{.suffix = "", .metrics = {{"accuracy", matched}}, .loss = 1.05, .num_rows = 1000},
              {.suffix = "_mm",
               .metrics = {{"accuracy", mismatched}},
               .loss = 1.1,
               .num_rows = 900,
               .predicts_one_class = true}},
      .experts_per_token = 2.25,
      .experts_per_token_of_layer = {{1, 2.0}, {3, 2.5}}};
}

TEST(Results, HaveTheKeysOfRunGlueAndReadBackTheSame) {
  const SeedResult result = mnli_seed(3, 0.4375, 0.45);
  const format::Json json = format::parse_json(to_json(result), "x");
  EXPECT_EQ(json["task"], "mnli");
  EXPECT_EQ(json["eval_accuracy"], 0.4375);
  EXPECT_EQ(json["eval_accuracy_mm"], 0.45);
  EXPECT_EQ(json["eval_loss"], 1.05);
  EXPECT_EQ(json["eval_samples_mm"], 900);
  EXPECT_EQ(json["experts_per_token"], 2.25);
  const SeedResult again = parse_seed_result(to_json(result), "x", task_of("mnli"));
  EXPECT_EQ(to_json(again), to_json(result));
  EXPECT_TRUE(again.dev[1].predicts_one_class);
}

TEST(Results, AScoreThatIsNoNumberIsNull) {
  SeedResult result{
      .task = "stsb",
      .seed = 1,
      .best_step = 1,
      .num_steps = 1,
      .dev = {{.suffix = "",
               .metrics = {{"pearson", kNan}, {"spearmanr", kNan}, {"combined_score", kNan}},
               .loss = 2.0,
               .num_rows = 5}},
      .experts_per_token = {},
      .experts_per_token_of_layer = {}};
  const format::Json json = format::parse_json(to_json(result), "x");
  EXPECT_TRUE(json["eval_pearson"].is_null());
  EXPECT_TRUE(json["experts_per_token"].is_null());
  EXPECT_TRUE(std::isnan(
      parse_seed_result(to_json(result), "x", task_of("stsb")).dev[0].metrics.at("pearson")));
  EXPECT_THAT(results_markdown({{.task = task_of("stsb"),
                                 .conditions = {.num_train_rows = 9},
                                 .majority = {},
                                 .seeds = {result}}}),
              AllOf(HasSubstr("| STS-B | pearson | - | - | - | 1 | - | 9 | 5 | - |"),
                    HasSubstr("STS-B, seed 1: pearson is no number, as of one score for every "
                              "row, and is left out of the median")));
}

TEST(Results, AFileOfAnotherVersionIsNamed) {
  try {
    (void)parse_seed_result("{\"seed\": 1}", "seed-1/eval_results.json", task_of("mrpc"));
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("seed-1/eval_results.json"));
  }
}

TEST(Results, SpreadIsMedianLeastAndMost) {
  const Spread odd = spread_of({3.0, 1.0, 2.0});
  EXPECT_EQ(odd.median, 2.0);
  EXPECT_EQ(odd.least, 1.0);
  EXPECT_EQ(odd.most, 3.0);
  EXPECT_EQ(spread_of({4.0, 1.0}).median, 2.5);
  EXPECT_EQ(spread_of({1.0, kNan, 2.0}).median, 1.5) << "of those that are numbers";
  EXPECT_TRUE(std::isnan(spread_of({kNan}).median));
  EXPECT_TRUE(std::isnan(spread_of({}).median));
}

TEST(Results, TheTablePutsTheMajorityBesideEveryMetric) {
  const std::vector<TaskResult> results{
      {.task = task_of("mnli"),
       .conditions = {.num_train_rows = 15360},
       .majority = {{"accuracy", 0.349}, {"accuracy_mm", 0.35}},
       .seeds = {mnli_seed(1, 0.41, 0.43), mnli_seed(2, 0.45, 0.44), mnli_seed(3, 0.43, 0.42)}}};
  const std::string table = results_markdown(results);
  EXPECT_THAT(
      table,
      HasSubstr("| MNLI | accuracy | 0.430 | 0.410 | 0.450 | 3 | 0.349 | 0.527 | 0.576 | 0.702 | "
                "15360 | 1000 | 2.25 |"));
  EXPECT_THAT(
      table,
      HasSubstr(
          "| MNLI | accuracy_mm | 0.430 | 0.420 | 0.440 | 3 | 0.350 | - | 0.600 | - | 15360 | "
          "900 | 2.25 |"));
  EXPECT_THAT(table, HasSubstr("| majority | words | OPT-125M | BERT-Tiny | training rows |"));
  EXPECT_THAT(table, HasSubstr("- BERT-Tiny: 4.4 M parameters, full corpus, published, test"));
  EXPECT_THAT(table, HasSubstr("| task | 1 | 3 |"));
  EXPECT_THAT(table, HasSubstr("| MNLI | 2.00 | 2.50 |"));
  const format::Json json = format::parse_json(results_json(results), "x");
  EXPECT_EQ(json[0]["eval_accuracy"]["median"], 0.43);
  EXPECT_EQ(json[0]["eval_accuracy"]["by_seed"].size(), 3U);
}

TEST(Results, AModelThatSaysOneClassIsCalledOut) {
  SeedResult result = mnli_seed(4, 0.35, 0.35);
  result.dev[0].predicts_one_class = true;
  EXPECT_THAT(results_markdown({{.task = task_of("mnli"),
                                 .conditions = {.num_train_rows = 1},
                                 .majority = {},
                                 .seeds = {result}}}),
              HasSubstr("- MNLI, seed 4: the model says the same class for every row"));
}

TEST(Results, AlsoWhereItDoesSoOnTheSecondDevFileAlone) {
  const std::string table = results_markdown({{.task = task_of("mnli"),
                                               .conditions = {.num_train_rows = 1},
                                               .majority = {},
                                               .seeds = {mnli_seed(4, 0.35, 0.35)}}});
  EXPECT_THAT(table,
              HasSubstr("- MNLI, seed 4, dev_mismatched.tsv: the model says the same class"));
  EXPECT_THAT(table, ::testing::Not(HasSubstr("- MNLI, seed 4: the model")));
}

TEST(Results, ASeedThatDivergedIsInNoFigureAndIsSaid) {
  SeedResult diverged{.task = "mnli",
                      .seed = 2,
                      .num_steps = 12,
                      .diverged = true,
                      .dev = {},
                      .experts_per_token = {},
                      .experts_per_token_of_layer = {}};
  const SeedResult again = parse_seed_result(to_json(diverged), "x", task_of("mnli"));
  EXPECT_TRUE(again.diverged);
  EXPECT_EQ(again.num_steps, 12);
  const std::vector<TaskResult> some{{.task = task_of("mnli"),
                                      .conditions = {.num_train_rows = 9},
                                      .majority = {},
                                      .seeds = {diverged, mnli_seed(3, 0.41, 0.43)}}};
  EXPECT_EQ(some[0].num_diverged(), 1);
  EXPECT_THAT(results_markdown(some),
              HasSubstr("| MNLI | accuracy | 0.410 | 0.410 | 0.410 | 1 of 2 | - | 0.527 | 0.576 | "
                        "0.702 | 9 | 1000 | 2.25 |"));
  EXPECT_THAT(results_markdown(some), HasSubstr("- MNLI, seed 2: diverged at step 12"));
  const format::Json json = format::parse_json(results_json(some), "x");
  EXPECT_TRUE(json[0]["eval_accuracy"]["by_seed"][0].is_null());
  EXPECT_EQ(json[0]["eval_accuracy"]["by_seed"][1], 0.41);
  EXPECT_EQ(json[0]["diverged"][0], true);
  const std::string none = results_markdown({{.task = task_of("mnli"),
                                              .conditions = {.num_train_rows = 9},
                                              .majority = {},
                                              .seeds = {diverged}}});
  EXPECT_THAT(
      none, HasSubstr("| MNLI | accuracy | - | - | - | 0 of 1 | - | 0.527 | 0.576 | 0.702 | 9 | - "
                      "| - |"));
}

TEST(Results, ABaselineIsAColumnWhereThereIsOne) {
  std::vector<TaskResult> results{
      {.task = task_of("stsb"), .conditions = {.num_train_rows = 9}, .majority = {}, .seeds = {}}};
  SeedResult seed{.task = "stsb",
                  .seed = 1,
                  .dev = {},
                  .experts_per_token = {},
                  .experts_per_token_of_layer = {}};
  seed.dev.push_back({.suffix = "",
                      .metrics = {{"pearson", 0.5}, {"spearmanr", 0.5}, {"combined_score", 0.5}},
                      .num_rows = 5});
  results[0].seeds = {seed};
  results[0].baseline = figures_of(results[0]);
  results[0].baseline->seeds[0].metrics["pearson"] = 0.25;
  EXPECT_THAT(results_markdown(results), HasSubstr("| majority | baseline | training rows |"));
  EXPECT_THAT(results_markdown(results),
              HasSubstr("| STS-B | pearson | 0.500 | 0.500 | 0.500 | 1 | - | 0.250 | 9 | 5 | - |"));
  EXPECT_EQ(format::parse_json(results_json(results), "x")[0]["eval_pearson"]["baseline"], 0.25);
  results[0].baseline.reset();
  EXPECT_THAT(results_markdown(results), ::testing::Not(HasSubstr("baseline")));
}

TEST(Results, TheJsonHoldsWhatComparesThemAndReadsBackTheSame) {
  SeedResult diverged{.task = "mnli",
                      .seed = 4,
                      .num_steps = 12,
                      .cost = TrainingCost{.tokens = 50, .flops = 1.5e9},
                      .diverged = true,
                      .dev = {},
                      .experts_per_token = {},
                      .experts_per_token_of_layer = {}};
  SeedResult sound = mnli_seed(3, 0.41, kNan);
  sound.cost = TrainingCost{.tokens = 200, .flops = 0.1};
  const TaskResult result{.task = task_of("mnli"),
                          .conditions = {.dev_rows = "00000000000000d0",
                                         .training_rows = "00000000000000e0",
                                         .num_train_rows = 9,
                                         .max_length = 128,
                                         .epochs = 1.5,
                                         .pooling = "pair"},
                          .majority = {},
                          .seeds = {sound, diverged, mnli_seed(5, 0.5, 0.5)}};
  const testing::TemporaryFolder folder;
  write_file_atomically(folder / "results.json", results_json({result}));
  const std::vector<TaskFigures> read = read_figures(folder.path());
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].task, "mnli");
  EXPECT_EQ(read[0].conditions, result.conditions);
  ASSERT_EQ(read[0].seeds.size(), 3U);
  EXPECT_EQ(read[0].seeds[0].seed, 3U);
  EXPECT_EQ(read[0].seeds[0].cost, sound.cost);
  EXPECT_EQ(read[0].seeds[0].metrics.at("accuracy"), 0.41);
  EXPECT_TRUE(std::isnan(read[0].seeds[0].metrics.at("accuracy_mm")));
  EXPECT_TRUE(read[0].seeds[1].diverged);
  EXPECT_TRUE(read[0].seeds[1].metrics.empty());
  EXPECT_EQ(read[0].seeds[1].cost, diverged.cost);
  EXPECT_FALSE(read[0].seeds[2].cost.has_value());
  EXPECT_DOUBLE_EQ(read[0].median("accuracy"), 0.455);
  EXPECT_TRUE(differences(read[0], figures_of(result)).empty());
  EXPECT_EQ(parse_seed_result(to_json(sound), "x", task_of("mnli")).cost, sound.cost);
}

TEST(Results, WhatTwoDoNotShareIsNamed) {
  TaskFigures left{.conditions = {.dev_rows = "d", .training_rows = "t", .num_train_rows = 9}};
  TaskFigures right = left;
  EXPECT_TRUE(differences(left, right).empty());
  const auto one = [&] {
    const std::vector<Difference> found = differences(left, right);
    EXPECT_EQ(found.size(), 1U);
    return found.empty() ? "" : found[0].what + ": " + found[0].left + " and " + found[0].right;
  };
  right.conditions.training_rows = "u";
  EXPECT_THAT(one(), HasSubstr("as many training rows, but other ones"));
  right.conditions.num_train_rows = 8;
  EXPECT_EQ(one(), "training rows: 9 and 8");
  right = left;
  left.seeds = {{.seed = 1}, {.seed = 2}, {.seed = 3}};
  right.seeds = {{.seed = 3}, {.seed = 1}};
  EXPECT_EQ(one(), "seeds: 1 to 3 and 1, 3");
  right = left;
  right.conditions.num_rates = 3;
  EXPECT_EQ(one(), "learning rates that dev chose from: 1 and 3");
  right = left;
  right.conditions.pooling = "mean";
  EXPECT_TRUE(differences(left, right).empty()) << "an earlier version's";
  right.conditions.pooling = "pair";
  EXPECT_EQ(one(), "finetune.pooling: not noted, but not pair and pair");
  left.conditions.pooling = "first";
  EXPECT_EQ(one(), "finetune.pooling: first and pair");
  left.conditions.pooling = "";
  right = left;
  EXPECT_TRUE(are_judged_alike(left, right));
  right.conditions.dev_rows = "e";
  EXPECT_FALSE(are_judged_alike(left, right));
}

TEST(Results, TheMajorityOfEachFileIsWhatSayingItIsWorth) {
  std::vector<Row> rows(4);
  for (const std::size_t i : {0, 1, 3}) rows[i].label = 1;
  const auto metrics = majority_metrics(task_of("mrpc"), {&rows});
  EXPECT_EQ(metrics.at("accuracy"), 0.75);
  EXPECT_NEAR(metrics.at("f1"), 6.0 / 7.0, 1e-12);
  EXPECT_TRUE(majority_metrics(task_of("stsb"), {&rows}).empty());
}

TEST(Results, SubmissionsAreWhatTheSiteTakes) {
  std::vector<Row> rows(3);
  rows[0].index = "0";
  rows[1].index = "1";
  rows[2].index = "5";
  EXPECT_EQ(submission_text(task_of("mnli"), rows, {2, 0, 1}),
            "index\tprediction\n0\tcontradiction\n1\tentailment\n5\tneutral\n");
  EXPECT_EQ(submission_text(task_of("cola"), rows, {1, 0, 1}),
            "index\tprediction\n0\t1\n1\t0\n5\t1\n");
  EXPECT_EQ(submission_text(task_of("stsb"), rows, {-0.3, 2.71828, 5.4}),
            "index\tprediction\n0\t0.000\n1\t2.718\n5\t5.000\n");
  EXPECT_THROW((void)submission_text(task_of("cola"), rows, {1}), InternalError);
}

TEST(Results, SubmissionFilesHaveTheirOfficialNames) {
  std::vector<std::string> names;
  for (const Task& task : all_tasks()) {
    for (const File& file : task.test) names.push_back(file.submission);
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre(
                         "CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv",
                         "MNLI-mm.tsv", "QNLI.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv"));
}

}  // namespace
}  // namespace switchyard::glue
