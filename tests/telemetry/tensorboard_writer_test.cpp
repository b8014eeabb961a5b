#include "switchyard/telemetry/tensorboard_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "support/temporary_folder.h"
#include "support/tensorboard_reader.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::telemetry {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::ProtoMessage;
using testing::read_packed_doubles;
using testing::read_proto;
using testing::read_summary;
using testing::SummaryValues;

// The event files of a folder in the order in which TensorBoard reads them.
std::vector<fs::path> event_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().find("tfevents") != std::string::npos) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<ProtoMessage> events_in(const fs::path& file) {
  std::vector<ProtoMessage> events;
  for (const std::string& message : testing::read_tfrecords(read_file(file))) {
    events.push_back(read_proto(message));
  }
  return events;
}

StepRecord example() {
  StepRecord record{.step = 40, .tokens = 1280, .loss = 3.5, .lm_loss = 3.25};
  record.learning_rate = 0.5;
  record.tokens_per_second = 1024.0;
  record.routing = RoutingRecord{.experts_per_token = 1.75, .experts_per_token_p95 = 3};
  record.layers.push_back({.layer = 3,
                           .routing = {.experts_per_token = 1.5, .router_entropy = 0.875},
                           .losses = {},
                           .load = {0.5, 0.25, 0.25},
                           .k_histogram = {0, 8, 4, 1}});
  record.phase_ms = {{"forward", 40.0}};
  return record;
}

TEST(TensorBoardWriter, EveryRecordIsOnDiskAsOneEventOfItsStep) {
  const testing::TemporaryFolder folder;
  TensorBoardWriter writer(folder.path(), 1);
  const auto files = event_files(folder.path());
  ASSERT_EQ(files.size(), 1U);
  ASSERT_EQ(events_in(files[0]).size(), 2U);
  EXPECT_EQ(events_in(files[0])[0].text(3), "brain.Event:2");
  writer.write(example());
  const auto events = events_in(files[0]);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2].number(2), 40.0);
  EXPECT_GT(events[2].number(1), 1.7e9);  // seconds since 1970
  const SummaryValues values = read_summary(events[2]);
  EXPECT_EQ(values.scalars.at("loss/loss"), 3.5);
  EXPECT_EQ(values.scalars.at("loss/lm_loss"), 3.25);
  EXPECT_EQ(values.scalars.at("train/learning_rate"), 0.5);
  EXPECT_EQ(values.scalars.at("train/tokens"), 1280.0);
  EXPECT_EQ(values.scalars.at("speed/tokens_per_second"), 1024.0);
  EXPECT_EQ(values.scalars.at("routing/experts_per_token"), 1.75);
  EXPECT_EQ(values.scalars.at("routing/experts_per_token_p95"), 3.0);
  EXPECT_EQ(values.scalars.at("phase_ms/forward"), 40.0);
  EXPECT_EQ(values.scalars.at("layer_03/experts_per_token"), 1.5);
  EXPECT_EQ(values.scalars.at("layer_03/router_entropy"), 0.875);
  EXPECT_EQ(values.scalars.at("layer_03_load/expert_00"), 0.5);
  EXPECT_EQ(values.scalars.at("layer_03_load/expert_02"), 0.25);
  EXPECT_FALSE(values.scalars.contains("train/step"));
  EXPECT_FALSE(values.scalars.contains("layer_03/layer"));
  const ProtoMessage& k = values.histograms.at("layer_03/experts_per_token_histogram");
  EXPECT_THAT(read_packed_doubles(k.text(7)), ElementsAre(0.0, 0.0, 8.0, 4.0, 1.0));
  EXPECT_EQ(k.number(4), 8.0 * 1 + 4.0 * 2 + 1.0 * 3);
  EXPECT_TRUE(values.histograms.contains("layer_03/load_by_expert"));
}

TEST(TensorBoardWriter, WhatIsNotFiniteOrNotKnownIsLeftOut) {
  const testing::TemporaryFolder folder;
  TensorBoardWriter writer(folder.path(), 1);
  StepRecord record = example();
  record.loss = std::numeric_limits<double>::quiet_NaN();
  record.routing.reset();
  record.layers.clear();
  writer.write(record);
  const SummaryValues values = read_summary(events_in(event_files(folder.path())[0]).back());
  EXPECT_FALSE(values.scalars.contains("loss/loss"));
  EXPECT_FALSE(values.scalars.contains("speed/mfu"));
  EXPECT_FALSE(values.scalars.contains("routing/experts_per_token"));
  EXPECT_TRUE(values.scalars.contains("loss/lm_loss"));
}

TEST(TensorBoardWriter, EvaluationsAreGroupedByTheirSplit) {
  const testing::TemporaryFolder folder;
  TensorBoardWriter writer(folder.path(), 1);
  writer.write(EvaluationRecord{.step = 7, .loss = 2.0, .bits_per_byte = 1.5});
  const auto events = events_in(event_files(folder.path())[0]);
  EXPECT_EQ(events.back().number(2), 7.0);
  EXPECT_EQ(read_summary(events.back()).scalars.at("validation/loss"), 2.0);
  EXPECT_EQ(read_summary(events.back()).scalars.at("validation/bits_per_byte"), 1.5);
}

TEST(TensorBoardWriter, EvaluationsHaveCurvesOfHowExpertsFollowTheLoss) {
  const testing::TemporaryFolder folder;
  TensorBoardWriter writer(folder.path(), 1);
  const DifficultyRecord difficulty{.all = {.with_loss = {.spearman = 0.25}},
                                    .layers = {1, 3},
                                    .by_layer = {{.with_loss = {.spearman = 0.5}}, {}}};
  writer.write(EvaluationRecord{.step = 7, .loss = 2.0, .difficulty = difficulty});
  const SummaryValues values = read_summary(events_in(event_files(folder.path())[0]).back());
  EXPECT_EQ(values.scalars.at("validation/loss_correlation"), 0.25);
  EXPECT_EQ(values.scalars.at("validation/loss_correlation_layer_01"), 0.5);
  EXPECT_FALSE(values.scalars.contains("validation/loss_correlation_layer_03"));
}

TEST(TensorBoardWriter, ALossyTokenizerHasNoCurveOfBitsPerByte) {
  const testing::TemporaryFolder folder;
  TensorBoardWriter writer(folder.path(), 1);
  writer.write(EvaluationRecord{.step = 7, .loss = 2.0, .lossless = false});
  const SummaryValues values = read_summary(events_in(event_files(folder.path())[0]).back());
  EXPECT_TRUE(values.scalars.contains("validation/loss"));
  EXPECT_FALSE(values.scalars.contains("validation/bits_per_byte"));
  EXPECT_FALSE(values.scalars.contains("validation/lossless"));
}

TEST(TensorBoardWriter, ResumeStartsALaterFileThatTakesBackTheStepsAfterIt) {
  const testing::TemporaryFolder folder;
  { TensorBoardWriter first(folder.path(), 1); }
  { TensorBoardWriter second(folder.path(), 21); }
  const TensorBoardWriter third(folder.path(), 31);
  const auto files = event_files(folder.path());
  ASSERT_EQ(files.size(), 3U);  // within one second
  std::vector<double> first_steps;
  for (const fs::path& file : files) {
    const auto events = events_in(file);
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(read_proto(events[1].text(7)).number(1), 1.0);  // SessionLog.START
    first_steps.push_back(events[1].number(2));
  }
  EXPECT_THAT(first_steps, ElementsAre(1.0, 21.0, 31.0));
}

TEST(TensorBoardWriter, FilesOfAClockThatRanAheadAreStillEarlier) {
  const testing::TemporaryFolder folder;
  std::ofstream(folder / "events.out.tfevents.9000000000.elsewhere") << "";
  std::ofstream(folder / "events.out.tfevents.99999999999999999999999.absurd") << "";
  const TensorBoardWriter writer(folder.path(), 1);
  EXPECT_THAT(event_files(folder.path())[1].filename().string(),
              ::testing::StartsWith("events.out.tfevents.9000000001."));
}

TEST(TensorBoardWriter, UnwritableFolderIsAStorageError) {
  EXPECT_THROW(TensorBoardWriter("/dev/null", 1), StorageError);
}

}  // namespace
}  // namespace switchyard::telemetry
