#include "switchyard/telemetry/read_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/telemetry/metrics_writer.h"

namespace switchyard::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

StepRecord full_record() {
  StepRecord record{.step = 20, .tokens = 640, .loss = 3.5, .lm_loss = 3.25};
  record.losses = {.load_balance = 1.5, .dynamic = 0.75, .z = 4.0};
  record.weighted = {.load_balance = 0.015, .dynamic = 1e-4, .z = 0.0};
  record.learning_rate = 3e-4;
  record.grad_norm = 0.5;
  record.tokens_per_second = 5100.0;
  record.step_ms = 125.0;
  record.mfu = 0.25;
  record.memory_bytes = 123456789;
  record.routing = RoutingRecord{.experts_per_token = 1.75,
                                 .experts_per_token_p5 = 1,
                                 .experts_per_token_p95 = 3,
                                 .router_entropy = 0.875,
                                 .max_violation = 0.5,
                                 .dead_experts = 1,
                                 .dead_fraction = 0.25};
  record.skipped_steps = 2;
  record.layers.push_back({.layer = 3,
                           .routing = *record.routing,
                           .losses = record.losses,
                           .load = {0.5, 0.25, 0.25, 0.0},
                           .k_histogram = {0, 8, 4, 1, 0}});
  record.phase_ms = {{"forward", 40.0}, {"backward", 80.0}};
  record.ranks = {{.rank = 0, .wait_ms = 1.5, .exchanged_mb = 2.25},
                  {.rank = 1, .wait_ms = 0.5, .exchanged_mb = 2.25}};
  return record;
}

// One line of metrics.jsonl with nothing but its step.
std::string step_line(int step, const std::string& more = "") {
  return "{\"step\": " + std::to_string(step) + more + "}\n";
}

std::vector<std::int64_t> steps_of(const Metrics& metrics) {
  std::vector<std::int64_t> steps;
  for (const StepRecord& record : metrics.steps) steps.push_back(record.step);
  return steps;
}

TEST(ReadMetrics, GivesBackEveryNumberThatWasWritten) {
  const testing::TemporaryFolder folder;
  const StepRecord step = full_record();
  DifficultyRecord difficulty{
      .all = {.with_loss = {.pearson = 0.25, .spearman = 0.5},
              .with_input_loss = {.pearson = -0.25, .spearman = -0.5}},
      .layers = {3},
      .by_layer = {{.with_loss = {.pearson = 0.125}, .with_input_loss = {.spearman = 0.75}}}};
  difficulty.by_loss = {
      {.from = 0.0, .to = 1.0, .tokens = 7, .loss = 0.5, .experts_per_token = {1.5}}};
  difficulty.by_word_position = {
      {.from = 4.0, .to = std::numeric_limits<double>::infinity(), .experts_per_token = {2.5}}};
  difficulty.by_frequency = {
      {.from = 10.0, .to = 99.0, .experts_per_token = {3.5}, .pearson = 0.375}};
  const EvaluationRecord evaluation{.step = 20,
                                    .split = "test",
                                    .loss = 3.0,
                                    .perplexity = 20.0,
                                    .bits_per_byte = 1.5,
                                    .lossless = true,
                                    .experts_per_token = 1.75,
                                    .metrics = {{"accuracy", 0.75}},
                                    .tokens = 99,
                                    .seconds = 0.5,
                                    .difficulty = difficulty};
  MetricsWriter writer(folder / "metrics.jsonl");
  writer.write(to_json(step));
  writer.write(to_json(evaluation));
  const Metrics metrics = read_metrics(folder / "metrics.jsonl");
  ASSERT_EQ(metrics.steps.size(), 1U);
  ASSERT_EQ(metrics.evaluations.size(), 1U);
  // Every key goes both ways: what is read writes the same line again.
  EXPECT_EQ(to_json(metrics.steps[0]).dump(), to_json(step).dump());
  EXPECT_EQ(to_json(metrics.evaluations[0]).dump(), to_json(evaluation).dump());
  ASSERT_TRUE(metrics.evaluations[0].difficulty.has_value());
  EXPECT_EQ(metrics.evaluations[0].difficulty->all.with_input_loss.spearman, -0.5);
  EXPECT_EQ(metrics.evaluations[0].difficulty->by_layer[0].with_loss.spearman, std::nullopt);
  EXPECT_THAT(metrics.steps[0].layers[0].k_histogram, ElementsAre(0, 8, 4, 1, 0));
  EXPECT_THAT(metrics.notes, IsEmpty());
}

TEST(ReadMetrics, ACalibrationIsNoEvaluationAndAResumeBeforeItTakesItBack) {
  const EvaluationRecord plain{.step = 20, .loss = 3.0};
  EvaluationRecord calibrated = plain;
  calibrated.loss = 2.5;
  calibrated.temperature = 1.25;
  const std::string text = to_json(plain).dump() + "\n" + to_json(calibrated).dump() + "\n";
  const Metrics metrics =
      parse_metrics(text + R"({"event": "resume", "step": 20})" + "\n", "metrics.jsonl");
  ASSERT_EQ(metrics.evaluations.size(), 1U);
  EXPECT_EQ(metrics.evaluations[0].loss, 3.0);
  ASSERT_TRUE(metrics.calibration.has_value());
  EXPECT_EQ(to_json(*metrics.calibration).dump(), to_json(calibrated).dump());
  const Metrics earlier =
      parse_metrics(text + R"({"event": "resume", "step": 19})" + "\n", "metrics.jsonl");
  EXPECT_FALSE(earlier.calibration.has_value());
}

TEST(ReadMetrics, BitsPerByteOfALossyTokenizerDoNotCountAndThoseOfAnOlderFileDo) {
  const std::string start = "{\"event\": \"evaluation\", \"step\": 1, \"bits_per_byte\": 1.5";
  const Metrics metrics = parse_metrics(
      start + ", \"lossless\": false}\n" + start + "}\n" + start + ", \"lossless\": null}\n",
      "metrics.jsonl");
  ASSERT_EQ(metrics.evaluations.size(), 3U);
  EXPECT_TRUE(is_lossy(metrics.evaluations[0]));
  EXPECT_EQ(metrics.evaluations[0].bits_per_byte, std::nullopt);
  for (std::size_t i : {1U, 2U}) {
    EXPECT_FALSE(is_lossy(metrics.evaluations[i]));
    EXPECT_EQ(metrics.evaluations[i].bits_per_byte, 1.5);
  }
}

TEST(ReadMetrics, NullIsNanOrNoneAndSoIsWhatAnOlderFileLacks) {
  StepRecord record = full_record();
  record.loss = std::numeric_limits<double>::infinity();
  record.mfu.reset();
  record.routing.reset();
  record.layers.clear();
  const Metrics metrics =
      parse_metrics(to_json(record).dump() + "\n" + step_line(21), "metrics.jsonl");
  ASSERT_EQ(metrics.steps.size(), 2U);
  EXPECT_TRUE(std::isnan(metrics.steps[0].loss));
  EXPECT_FALSE(metrics.steps[0].mfu.has_value());
  EXPECT_FALSE(metrics.steps[0].routing.has_value());
  EXPECT_TRUE(std::isnan(metrics.steps[1].lm_loss));
  EXPECT_THAT(metrics.steps[1].layers, IsEmpty());
  EXPECT_THAT(metrics.notes, IsEmpty());
}

TEST(ReadMetrics, ResumeTakesBackLaterRecords) {
  const std::string text = step_line(10) + step_line(20) +
                           R"({"event": "evaluation", "step": 20, "loss": 4.0})"
                           "\n" +
                           step_line(30) +
                           R"({"event": "evaluation", "step": 30, "loss": 3.0})"
                           "\n" +
                           R"({"event": "resume", "step": 20})"
                           "\n" +
                           step_line(25, R"(, "lm_loss": 2.5)") +
                           R"({"event": "resume", "step": 0})"
                           "\n" +
                           step_line(5);
  const std::size_t second_resume = text.find(R"({"event": "resume", "step": 0})");
  const Metrics first = parse_metrics(text.substr(0, second_resume), "metrics.jsonl");
  EXPECT_THAT(steps_of(first), ElementsAre(10, 20, 25));
  EXPECT_EQ(first.steps.back().lm_loss, 2.5);
  ASSERT_EQ(first.evaluations.size(), 1U);
  EXPECT_EQ(first.evaluations[0].step, 20);
  EXPECT_THAT(first.resumes, ElementsAre(20));
  const Metrics all = parse_metrics(text, "metrics.jsonl");
  EXPECT_THAT(steps_of(all), ElementsAre(5));
  EXPECT_THAT(all.evaluations, IsEmpty());
  EXPECT_THAT(all.resumes, ElementsAre(20, 0));
}

TEST(ReadMetrics, StepsThatGoBackWithoutAResumeReplaceWhatTheyRepeat) {
  const Metrics metrics = parse_metrics(
      step_line(10) + step_line(20) + step_line(30) + step_line(20, R"(, "lm_loss": 1.0)"), "m");
  EXPECT_THAT(steps_of(metrics), ElementsAre(10, 20));
  EXPECT_EQ(metrics.steps.back().lm_loss, 1.0);
}

TEST(ReadMetrics, LastLineWithoutItsEndIsNotReadYet) {
  for (const char* torn : {"{\"step\": 2, \"lo", "{\"step\": 2}", "{"}) {
    const Metrics metrics = parse_metrics(step_line(1) + torn, "metrics.jsonl");
    EXPECT_THAT(steps_of(metrics), ElementsAre(1)) << torn;
    EXPECT_THAT(metrics.notes, IsEmpty()) << torn;
  }
  EXPECT_THAT(steps_of(parse_metrics("", "metrics.jsonl")), IsEmpty());
}

TEST(ReadMetrics, DamagedLinesAreNotedAndLeftOut) {
  const Metrics metrics = parse_metrics(
      step_line(1) + "not json\n" + "[1, 2]\n" + step_line(2, R"(, "loss": "high")") +
          "{\"loss\": 1.0}\n" + step_line(3, R"(, "layers": [{"layer": 1, "load": ["x"]}])") +
          step_line(4, R"(, "layers": [{"layer": 1, "k_histogram": [1e300]}])") + "\xff\n\n" +
          step_line(5),
      "metrics.jsonl");
  EXPECT_THAT(steps_of(metrics), ElementsAre(1, 5));
  ASSERT_EQ(metrics.notes.size(), 6U);  // five, and how many more
  EXPECT_THAT(metrics.notes[0], HasSubstr("metrics.jsonl:2"));
  EXPECT_THAT(metrics.notes[2], HasSubstr("metrics.jsonl:4: 'loss' is string"));
  EXPECT_THAT(metrics.notes[5], HasSubstr("3 more damaged lines"));
}

TEST(ReadMetrics, EventsOfLaterVersionsArePassedOver) {
  const Metrics metrics =
      parse_metrics(step_line(1) + "{\"event\": \"tea\", \"step\": 7}\n", "metrics.jsonl");
  EXPECT_THAT(steps_of(metrics), ElementsAre(1));
  EXPECT_THAT(metrics.notes, IsEmpty());
}

TEST(ReadMetrics, MissingFileIsAStorageError) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW((void)read_metrics(folder / "metrics.jsonl"), StorageError);
}

}  // namespace
}  // namespace switchyard::telemetry
