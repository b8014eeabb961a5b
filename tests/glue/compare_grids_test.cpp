#include "switchyard/glue/compare_grids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/format/json.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;

// Seeds 1, 2, ... with these values of one metric.
TaskFigures task(const std::string& name, const std::vector<double>& values,
                 const std::string& key = "accuracy") {
  TaskFigures figures{.task = name,
                      .conditions = {.dev_rows = "rows of " + name,
                                     .training_rows = "t",
                                     .num_train_rows = 100,
                                     .max_length = 128,
                                     .epochs = 3}};
  for (const double value : values) {
    figures.seeds.push_back({.seed = figures.seeds.size() + 1,
                             .cost = TrainingCost{.tokens = 1000, .flops = 1e9},
                             .metrics = {{key, value}}});
  }
  return figures;
}

TEST(CompareGrids, DifferencesAreBySeedAndTheSecondMinusTheFirst) {
  const GridComparison comparison =
      compare_grids({.name = "dense", .tasks = {task("rte", {0.5, 0.625, 0.75})}},
                    {.name = "moe", .tasks = {task("rte", {0.75, 0.625, 0.875})}});
  ASSERT_EQ(comparison.figures.size(), 1U);
  const PairedFigure& figure = comparison.figures[0];
  EXPECT_THAT(figure.seeds, ElementsAre(1, 2, 3));
  EXPECT_THAT(figure.difference, ElementsAre(0.25, 0.0, 0.125));
  EXPECT_EQ(figure.left, 0.625);
  EXPECT_EQ(figure.right, 0.75);
  EXPECT_EQ(figure.mean, 0.125);
  EXPECT_EQ(figure.median, 0.125);
  EXPECT_EQ(figure.test.num_pairs, 2) << "the seed without a difference";
  EXPECT_EQ(figure.test.p, 0.5);
  EXPECT_EQ(figure.interval->low, bootstrap_interval(figure.difference)->low);
  EXPECT_FALSE(comparison.together.has_value()) << "of one task";
  EXPECT_TRUE(comparison.notes.empty());
  EXPECT_THAT(grids_markdown(comparison),
              AllOf(HasSubstr("# moe against dense"),
                    HasSubstr("| rte | accuracy | 3 | 0.6250 | 0.7500 | +0.1250 | +0.1250 |"),
                    HasSubstr("| 0.5 | 0.5 |"), HasSubstr("10000 resamples"),
                    HasSubstr("drawn from seed 1"), HasSubstr("never below 2/2^n"),
                    HasSubstr("| rte | 1000 | 1000 | 1e+09 | 1e+09 |"), Not(HasSubstr("Notes"))));
}

TEST(CompareGrids, OnlySeedsThatBothSidesHaveArePaired) {
  TaskFigures left = task("rte", {0.5, 0.6, 0.7, 0.8});
  TaskFigures right = task("rte", {0.6, 0.7, 0.9, std::nan("")});
  left.seeds[0].diverged = true;
  left.seeds[0].metrics.clear();
  right.seeds.push_back({.seed = 9, .metrics = {{"accuracy", 1.0}}});
  const GridComparison comparison =
      compare_grids({.name = "a", .tasks = {left}}, {.name = "b", .tasks = {right}});
  EXPECT_THAT(comparison.figures[0].seeds, ElementsAre(2, 3));
  EXPECT_THAT(comparison.figures[0].difference, Pointwise(DoubleNear(1e-12), {0.1, 0.2}));
  EXPECT_THAT(comparison.notes, AllOf(Contains("a, rte: seed 1 diverged"),
                                      Contains("rte: seeds: 1 to 4 and 1, 2, 3, 4, 9"),
                                      Contains("b, rte: seed 4 has no accuracy (it is no number) "
                                               "and is in no difference of it")));
  EXPECT_EQ(comparison.costs[0].left->tokens, 1000) << "of the pairs";
}

TEST(CompareGrids, AllTasksTogetherAreTheMeanOfTheirScoresBySeed) {
  // MRPC by its combined score alone, MNLI by the mean of its two files.
  TaskFigures mrpc = task("mrpc", {0.5, 0.5, 0.5}, "combined_score");
  TaskFigures mnli = task("mnli", {0.25, 0.25});
  for (SeedFigures& seed : mrpc.seeds) seed.metrics["accuracy"] = 0.9;
  for (SeedFigures& seed : mnli.seeds) seed.metrics["accuracy_mm"] = 0.75;
  const ComparedGrid left{.name = "a", .tasks = {mrpc, mnli}};
  ComparedGrid right = left;
  right.tasks[0].seeds[0].metrics["combined_score"] = 0.75;  // of seed 1: + 1/4
  right.tasks[0].seeds[0].metrics["accuracy"] = 0.1;
  right.tasks[1].seeds[1].metrics["accuracy_mm"] = 0.25;  // of seed 2: - 1/2, of one of two files
  const GridComparison comparison = compare_grids(left, right);
  ASSERT_TRUE(comparison.together.has_value());
  EXPECT_THAT(comparison.together->seeds, ElementsAre(1, 2)) << "MNLI has no third";
  EXPECT_THAT(comparison.together->difference, ElementsAre(0.125, -0.125));
  EXPECT_EQ(comparison.together->left, 0.5);
  EXPECT_THAT(grids_markdown(comparison), AllOf(HasSubstr("| **all tasks** | score | 2 | 0.5000 |"),
                                                HasSubstr("These are 5 tests")));
  ASSERT_EQ(comparison.costs.size(), 3U);
  EXPECT_EQ(comparison.costs[2].left->tokens, 2000);
}

TEST(CompareGrids, OtherDevRowsAreNotComparedAndOtherConditionsAreSaid) {
  ComparedGrid left{.name = "a", .tasks = {task("rte", {0.5}), task("sst2", {0.8})}};
  ComparedGrid right = left;
  right.tasks[0].conditions.dev_rows = "others";
  right.tasks[1].conditions.num_train_rows = 50;
  const GridComparison comparison = compare_grids(left, right);
  ASSERT_EQ(comparison.figures.size(), 1U);
  EXPECT_EQ(comparison.figures[0].task, "sst2");
  EXPECT_EQ(comparison.costs.size(), 1U);
  EXPECT_THAT(comparison.notes,
              ElementsAre("rte: judged on other dev rows (rows of rte and others): not compared",
                          "sst2: training rows: 100 and 50"));
  left.tasks.pop_back();
  right.tasks.pop_back();
  EXPECT_THAT([&] { (void)compare_grids(left, right); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("a and a have nothing to compare"),
                                              HasSubstr("rte: judged on other dev rows"))));
}

TEST(CompareGrids, NothingToCompareIsRefusedWithTheReason) {
  const ComparedGrid left{.name = "a", .tasks = {task("rte", {0.5, 0.5})}};
  ComparedGrid right{.name = "b", .tasks = {task("rte", {0.5, 0.5}, "f1")}};
  const auto compared = [&] { (void)compare_grids(left, right); };
  EXPECT_THAT(compared, ThrowsMessage<UsageError>(
                            HasSubstr("rte: no metric has a figure on both sides: not compared")));
  right.tasks.clear();
  EXPECT_THAT(compared,
              ThrowsMessage<UsageError>(HasSubstr("\n  b: it has no results of any task")));
  right.tasks = {task("rte", {0.5})};
  right.tasks[0].seeds[0].seed = 9;
  try {
    compared();
    FAIL() << "no seed in common";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rte: no seed has a figure on both sides"));
    EXPECT_THAT(error.hint(), HasSubstr("the same run.seed=... and --seeds"));
  }
}

TEST(CompareGrids, ATaskOfOneSideAloneIsSaid) {
  const ComparedGrid left{.name = "a", .tasks = {task("rte", {0.5}), task("cola", {0.5})}};
  const ComparedGrid right{.name = "b", .tasks = {task("rte", {0.5}), task("qqp", {0.5})}};
  EXPECT_THAT(compare_grids(left, right).notes,
              ElementsAre("cola: b has it not: not compared", "qqp: a has it not: not compared"));
}

TEST(CompareGrids, TrainingThatCostMoreThanOnePercentMoreIsSaid) {
  ComparedGrid left{.name = "a", .tasks = {task("rte", {0.5, 0.5})}};
  ComparedGrid right = left;
  right.name = "b";
  for (SeedFigures& seed : right.tasks[0].seeds) seed.cost = {.tokens = 1010, .flops = 1.009e9};
  EXPECT_TRUE(compare_grids(left, right).notes.empty());
  right.tasks[0].seeds[0].cost = {.tokens = 1030, .flops = 0.8e9};  // means: 1020, 0.9045e9
  EXPECT_THAT(compare_grids(left, right).notes,
              ElementsAre("rte: not at equal tokens: b trained on 2.0 % more than a",
                          "rte: not at equal FLOPs: training of b took 9.6 % fewer than of a"));
  right.tasks[0].seeds[1].cost.reset();
  const GridComparison comparison = compare_grids(left, right);
  EXPECT_THAT(comparison.notes,
              ElementsAre("rte: an earlier version did not note what training cost"));
  EXPECT_THAT(grids_markdown(comparison), HasSubstr("| rte | 1000 | - | 1e+09 | - |"));
}

TEST(CompareGrids, TheJsonHasTheSame) {
  const GridComparison comparison =
      compare_grids({.name = "a", .tasks = {task("rte", {0.5, 0.5, 0.5})}},
                    {.name = "b", .tasks = {task("rte", {0.625, 0.75, 0.875})}});
  const format::Json json = format::parse_json(grids_json(comparison), "x");
  EXPECT_EQ(json["left"], "a");
  EXPECT_EQ(json["bootstrap"]["resamples"], 10000);
  const format::Json& figure = json["figures"][0];
  EXPECT_EQ(figure["task"], "rte");
  EXPECT_EQ(figure["difference_by_seed"], (std::vector{0.125, 0.25, 0.375}));
  EXPECT_EQ(figure["mean_difference"], 0.25);
  EXPECT_EQ(figure["interval"][0], comparison.figures[0].interval->low);
  EXPECT_EQ(figure["wilcoxon"]["p"], 0.25);
  EXPECT_EQ(figure["wilcoxon"]["least_p"], 0.25);
  EXPECT_TRUE(json["all_tasks"].is_null());
  EXPECT_EQ(json["costs"][0]["right"]["tokens"], 1000);
}

}  // namespace
}  // namespace switchyard::glue
