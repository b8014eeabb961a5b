#include "switchyard/telemetry/metrics_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "support/step_record_keys.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/telemetry/record.h"

namespace switchyard::telemetry {
namespace {

TEST(MetricsWriter, EveryLineIsOnDiskBeforeTheNextIsWritten) {
  const testing::TemporaryFolder folder;
  MetricsWriter writer(folder / "metrics.jsonl");
  writer.write({{"step", 1}});
  EXPECT_EQ(read_file(folder / "metrics.jsonl"), "{\"step\":1}\n");
  writer.write({{"step", 2}});
  EXPECT_EQ(read_file(folder / "metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(MetricsWriter, AppendsAndCutsALineThatAKilledRunLeftTorn) {
  const testing::TemporaryFolder folder;
  std::ofstream(folder / "metrics.jsonl") << "{\"step\":1}\n{\"step\":2,\"lo";
  MetricsWriter writer(folder / "metrics.jsonl");
  writer.write({{"step", 2}});
  EXPECT_EQ(read_file(folder / "metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(MetricsWriter, WhatItCutsOffStaysInOtherNamesOfTheFile) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder / "metrics.jsonl", "{\"step\":1}\n{\"st");
  std::filesystem::create_hard_link(folder / "metrics.jsonl", folder / "copy.jsonl");
  MetricsWriter(folder / "metrics.jsonl").write({{"step", 2}});
  EXPECT_EQ(read_file(folder / "metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n");
  EXPECT_EQ(read_file(folder / "copy.jsonl"), "{\"step\":1}\n{\"st");
}

TEST(MetricsWriter, UnwritableFileIsAStorageError) {
  EXPECT_THROW(MetricsWriter("/dev/null/metrics.jsonl"), StorageError);
}

TEST(StepRecordJson, HasEveryStableKey) {
  StepRecord record;
  record.routing = RoutingRecord{};
  record.layers.push_back(
      {.layer = 2, .routing = {}, .losses = {}, .load = {0.5, 0.5}, .k_histogram = {}});
  const format::Json json = to_json(record);
  for (const char* key : testing::kStepRecordNumbers) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  ASSERT_TRUE(json.contains("layers"));
  for (const char* key :
       {"layer", "experts_per_token", "router_entropy", "max_violation", "dead_experts",
        "load_balance_loss", "dynamic_loss", "z_loss", "load", "k_histogram"}) {
    EXPECT_TRUE(json["layers"][0].contains(key)) << key;
  }
}

TEST(StepRecordJson, KeepsEveryBitOfALossAndWritesNonFiniteNumbersAsNull) {
  StepRecord record{.loss = 0.1 + 0.2, .lm_loss = std::numeric_limits<double>::quiet_NaN()};
  record.grad_norm = std::numeric_limits<double>::infinity();
  const format::Json read = format::parse_json(to_json(record).dump(), "record");
  EXPECT_EQ(read["loss"].get<double>(), 0.1 + 0.2);
  EXPECT_TRUE(read["lm_loss"].is_null());
  EXPECT_TRUE(read["grad_norm"].is_null());
  EXPECT_TRUE(read["experts_per_token"].is_null());  // no MoE layers
  EXPECT_TRUE(read["mfu"].is_null());
}

TEST(EvaluationRecordJson, HasEveryStableKey) {
  EvaluationRecord record{.step = 3, .loss = 2.0, .perplexity = 7.39, .bits_per_byte = 1.5};
  const format::Json json = to_json(record);
  EXPECT_EQ(json["split"], "validation");
  EXPECT_EQ(json["step"], 3);
  EXPECT_EQ(json["loss"], 2.0);
  EXPECT_EQ(json["perplexity"], 7.39);
  EXPECT_EQ(json["bits_per_byte"], 1.5);
  EXPECT_TRUE(json["lossless"].is_null());
  record.lossless = false;
  EXPECT_EQ(to_json(record)["lossless"], false);
}

}  // namespace
}  // namespace switchyard::telemetry
