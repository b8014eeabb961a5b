#include "glue/report_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<TaskResult> two_tasks() {
  const auto seed = [](const std::string& task, double accuracy, double k) {
    return SeedResult{.task = task,
                      .seed = 1,
                      .dev = {{.suffix = "", .metrics = {{"accuracy", accuracy}}, .num_rows = 10}},
                      .experts_per_token = k,
                      .experts_per_token_of_layer = {{1, k}}};
  };
  const Task& sst2 = *parse_tasks("sst2").front();
  const Task& rte = *parse_tasks("rte").front();
  TaskFigures baseline{.task = "sst2", .conditions = {.num_train_rows = 100}};
  baseline.seeds = {{.seed = 1, .metrics = {{"accuracy", 0.6}}}};
  return {{.task = sst2,
           .conditions = {.num_train_rows = 100},
           .majority = {{"accuracy", 0.5}},
           .baseline = baseline,
           .seeds = {seed("sst2", 0.75, 1.0), seed("sst2", 0.8, 1.0)}},
          {.task = rte,
           .conditions = {.num_train_rows = 100},
           .majority = {},
           .seeds = {seed("rte", 0.55, 3.0)}}};
}

TEST(GlueReport, PutsSeedsBesideWhatTheyAreComparedWith) {
  const std::string page = report_page("grid", two_tasks());
  EXPECT_THAT(page,
              AllOf(HasSubstr("<title>grid - Switchyard</title>"),
                    HasSubstr("SST-2 accuracy<small>median 0.775, 0.750 to 0.800 over 2 seeds"),
                    HasSubstr("majority 0.500"), HasSubstr("baseline 0.600"),
                    HasSubstr("words 0.805"), HasSubstr("BERT-Tiny 0.832")));
  EXPECT_THAT(page, HasSubstr("<title>0.750</title>"));
  EXPECT_THAT(page, HasSubstr("Experts per token by task and layer"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

TEST(GlueReport, ALayerThatADamagedFileLacksIsLeftEmpty) {
  std::vector<TaskResult> results = two_tasks();
  results[1].seeds[0].experts_per_token_of_layer = {{3, 2.0}};
  EXPECT_THAT(report_page("grid", results), HasSubstr("Experts per token by task and layer"));
}

TEST(GlueReport, EscapesNamesAndSaysWhatDiverged) {
  std::vector<TaskResult> results = two_tasks();
  results[0].seeds[0].diverged = true;
  results[0].seeds[0].dev.clear();
  const std::string page = report_page("a<b", results);
  EXPECT_THAT(page, AllOf(HasSubstr("a&lt;b"), Not(HasSubstr("a<b")),
                          HasSubstr("SST-2, seed 1: diverged at step")));
  EXPECT_THAT(page, HasSubstr("median 0.800"));
}

}  // namespace
}  // namespace switchyard::glue
