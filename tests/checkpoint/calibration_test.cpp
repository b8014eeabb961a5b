#include "switchyard/checkpoint/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "checkpoint/saved_step.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Calibration : public ::testing::Test {
 protected:
  Calibration() : step_(switchyard::testing::save_step(folder_ / "checkpoints", 5)) {}

  switchyard::testing::TemporaryFolder folder_;
  fs::path step_;
};

TEST_F(Calibration, IsOneWhereThereIsNone) {
  EXPECT_FALSE(has_temperature(step_));
  EXPECT_EQ(temperature_of(step_), 1.0);
}

TEST_F(Calibration, IsKeptToTheBitAndReplaced) {
  for (const double temperature : {1.2345678901234567, 0.1 + 0.2}) {
    keep_temperature(step_, temperature);
    EXPECT_TRUE(has_temperature(step_));
    EXPECT_EQ(temperature_of(step_), temperature);
  }
}

TEST_F(Calibration, ACheckpointThatHasOneIsAsWholeAsBefore) {
  keep_temperature(step_, 1.5);
  EXPECT_EQ(Checkpoint::open(folder_ / "checkpoints").step(), 5);
  EXPECT_EQ(switchyard::testing::save_step(folder_ / "checkpoints", 5), step_)
      << "the same step, saved again after a kill";
  EXPECT_EQ(temperature_of(step_), 1.5);
  remove_step(step_);
  EXPECT_FALSE(fs::exists(step_));
}

TEST_F(Calibration, WhatSaysNoTemperatureIsNamedWithAWayOut) {
  for (const char* text :
       {"", "{", "{}", "[1.5]", R"({"temperature": "1.5"})", R"({"temperature": null})",
        R"({"temperature": 0})", R"({"temperature": -1.5})", R"({"temperature": 1e999})"}) {
    SCOPED_TRACE(text);
    write_file_atomically(step_ / "calibration.json", text);
    try {
      (void)temperature_of(step_);
      ADD_FAILURE() << "was taken";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("calibration.json"));
      EXPECT_THAT(error.hint(), HasSubstr("move the file away"));
    }
  }
}

}  // namespace
}  // namespace switchyard::checkpoint
