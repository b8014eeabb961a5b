#include "switchyard/telemetry/step_line.h"

#include <gtest/gtest.h>

#include <limits>

namespace switchyard::telemetry {
namespace {

StepRecord example() {
  StepRecord record{.step = 400, .loss = 3.412, .lm_loss = 3.388};
  record.weighted = {.load_balance = 0.0211, .dynamic = 0.0001, .z = 0.0};
  record.learning_rate = 3e-4;
  record.grad_norm = 0.712;
  record.tokens_per_second = 5123.0;
  record.mfu = 0.381;
  record.memory_bytes = 1288490189;
  record.routing = RoutingRecord{.experts_per_token = 1.834,
                                 .experts_per_token_p5 = 1,
                                 .experts_per_token_p95 = 6,
                                 .router_entropy = 0.871,
                                 .max_violation = 0.42,
                                 .dead_experts = 0,
                                 .dead_fraction = 0.0};
  return record;
}

TEST(StepLine, LooksAsDocumented) {
  EXPECT_EQ(format_step_line(example(), {.total_steps = 2000, .eta_seconds = 720.0}),
            "step  400/2000  20% | loss  3.412 lm  3.388 bal 0.021 dyn 0.0001 | lr 3.0e-04 gnorm "
            " 0.71 | 5.12k tok/s mfu  38% mem  1.2G | k 1.83 [1-6] H 0.87 vio 0.42 dead   0% | "
            "skip 0 | eta 12m");
}

TEST(StepLine, ColumnsStayInPlaceFromTheFirstStepToTheLast) {
  const Progress progress{.total_steps = 2000, .eta_seconds = 720.0};
  StepRecord first = example();
  first.step = 1;
  first.loss = 10.551;
  first.lm_loss = 10.373;
  first.grad_norm = 12.34;
  first.tokens_per_second = 12.0;
  first.memory_bytes = 999;
  StepRecord last = example();
  last.step = 2000;
  last.mfu.reset();
  const std::string one = format_step_line(first, progress);
  const std::string two = format_step_line(last, progress);
  for (std::size_t i = 0; i < one.size(); ++i) {
    if (one[i] != '|') continue;
    EXPECT_EQ(two[i], '|') << one << "\n" << two;
  }
}

TEST(StepLine, SaysWhereItsPeakIsThatOfADataSheet) {
  const std::string line =
      format_step_line(example(), {.total_steps = 2000, .mfu_of_data_sheet = true});
  EXPECT_NE(line.find("mfu  38% of spec mem"), std::string::npos) << line;
}

TEST(StepLine, ShowsTheZLossOnlyWhereItIsUsed) {
  StepRecord record = example();
  record.weighted.z = 0.0031;
  EXPECT_NE(format_step_line(record, {.total_steps = 400}).find("dyn 0.0001 z 0.0031 |"),
            std::string::npos);
}

TEST(StepLine, ModelWithoutMoeLayersShowsNoRouting) {
  StepRecord record = example();
  record.routing.reset();
  const std::string line = format_step_line(record, {.total_steps = 400});
  EXPECT_EQ(line.find("bal"), std::string::npos);
  EXPECT_EQ(line.find("dead"), std::string::npos);
}

TEST(EvaluationLine, SaysAtWhichTemperature) {
  const EvaluationRecord plain{.step = 4, .loss = 2.5};
  EvaluationRecord calibrated = plain;
  calibrated.split = "calibrated";
  calibrated.temperature = 1.25;
  EXPECT_EQ(format_evaluation_line(plain, ""), "step 4 validation: loss 2.5000");
  EXPECT_EQ(format_evaluation_line(calibrated, ""),
            "step 4 calibrated: loss 2.5000 at temperature 1.250");
}

TEST(StepLine, WhatIsNotANumberHasNoSign) {
  StepRecord record = example();
  record.loss = record.lm_loss = record.grad_norm = -std::numeric_limits<double>::quiet_NaN();
  EvaluationRecord evaluation{.step = 4, .loss = record.loss, .perplexity = record.loss};
  evaluation.metrics["accuracy"] = record.loss;
  for (const std::string& line :
       {format_step_line(record, {.total_steps = 400}), format_evaluation_line(evaluation, "")}) {
    EXPECT_THAT(line, ::testing::HasSubstr("nan"));
    EXPECT_THAT(line, ::testing::Not(::testing::HasSubstr("-nan")));
  }
}

TEST(BestTracker, NamesTheBestAndCountsWhatDidNotBeatIt) {
  BestTracker tracker;
  EXPECT_EQ(tracker.judge(400, 5.0), "new best");
  EXPECT_EQ(tracker.judge(800, 4.78), "new best");
  EXPECT_EQ(tracker.judge(1000, 4.78), "no improvement for 1 evaluation (best 4.78 at step 800)");
  (void)tracker.judge(1200, 4.9);
  EXPECT_EQ(tracker.judge(1400, std::numeric_limits<double>::quiet_NaN()),
            "no improvement for 3 evaluations (best 4.78 at step 800)");
  EXPECT_EQ(tracker.judge(1600, 4.7), "new best");
  EXPECT_EQ(tracker.judge(1800, 4.75), "no improvement for 1 evaluation (best 4.7 at step 1600)");
}

TEST(BestTracker, AScoreThatIsNegatedToBeComparedIsShownAsItIs) {
  BestTracker tracker;
  EXPECT_EQ(tracker.judge(5, -0.75, /*is_negated=*/true), "new best");
  EXPECT_EQ(tracker.judge(10, -0.5, /*is_negated=*/true),
            "no improvement for 1 evaluation (best 0.75 at step 5)");
  EXPECT_EQ(tracker.best(), -0.75);
}

TEST(BestTracker, ALossThatIsNotFiniteIsNeverTheBest) {
  BestTracker tracker;
  EXPECT_EQ(tracker.judge(1, std::numeric_limits<double>::quiet_NaN()),
            "no improvement for 1 evaluation");
  EXPECT_EQ(tracker.judge(2, 3.0), "new best");
}

TEST(EvaluationLine, HoldsWhatIsKnown) {
  EvaluationRecord record{.step = 400, .loss = 3.4021, .perplexity = 30.027};
  EXPECT_EQ(format_evaluation_line(record, ""),
            "step 400 validation: loss 3.4021 perplexity 30.03");
  record.bits_per_byte = 1.62;
  record.experts_per_token = 1.8;
  EXPECT_EQ(format_evaluation_line(record, "new best"),
            "step 400 validation: loss 3.4021 perplexity 30.03 bits per byte 1.6200 k 1.80 | new "
            "best");
  record.bits_per_byte.reset();
  record.lossless = false;
  EXPECT_EQ(format_evaluation_line(record, ""),
            "step 400 validation: loss 3.4021 perplexity 30.03 no bits per byte (lossy tokenizer) "
            "k 1.80");
  const EvaluationRecord task{
      .step = 9, .split = "dev", .loss = 0.5, .metrics = {{"accuracy", 0.75}, {"f1", 0.8}}};
  EXPECT_EQ(format_evaluation_line(task, ""), "step 9 dev: loss 0.5000 accuracy 0.7500 f1 0.8000");
}

}  // namespace
}  // namespace switchyard::telemetry
