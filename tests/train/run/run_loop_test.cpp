#include "train/run/run_loop.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <algorithm>
#include <limits>
#include <new>
#include <numbers>
#include <string>
#include <vector>

#include "switchyard/checkpoint/calibration.h"
#include "switchyard/comm/self.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/train/pretrain.h"
#include "train/run/troubled_task.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class TroubledRun : public ::testing::Test {
 protected:
  TroubledRun() {
    tiny_.config.train.micro_batch_size = tiny_.config.train.global_batch_size;
    tiny_.config.schedule.steps = tiny_.config.train.steps;  // as reading a config fills it in
  }

  void run(const Trouble& trouble) {
    const Build parts = build(tiny_.config);
    if (trouble.infinite_weight) {  // of a byte that no text holds
      const ops::Parameter& embedding = *parts.decoder->parameters().front();
      embedding.master.detach().select(0, 0xFF).fill_(std::numeric_limits<double>::infinity());
    }
    const RunFolder folder = RunFolder::create(tiny_.config.run.dir);
    const log::LogFile log_file(folder.log_file());
    const auto communicator = comm::make_self_communicator();
    parallel::RankGroups groups(*communicator, 1);
    NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
    TroubledTask troubled(task, trouble);
    const StopSignal stop;
    RunLoop loop(parts.config, troubled, groups, folder, stop);
    (void)loop.run();
    loop.side_work().check_last();
  }
  [[nodiscard]] std::string log() const { return read_file(tiny_.folder / "run/log.txt"); }
  [[nodiscard]] bool holds(const char* step) const {
    return fs::exists(tiny_.folder / "run/checkpoints" / step / "manifest.json");
  }

  TinyRunFolder tiny_;
};

TEST_F(TroubledRun, AnEvaluationOrSampleThatFailsOnTheWayCostsAWarningWithACount) {
  tiny_.config.train.evaluate_every = 5;
  tiny_.config.train.sample_every = 10;
  EXPECT_NO_THROW(run({.evaluation = 5, .sample = 10, .ends = true}));
  EXPECT_THAT(log(), HasSubstr("step 5: evaluation failed (1 time so far): memory ran out"));
  EXPECT_THAT(log(), HasSubstr("step 10: sample failed (1 time so far)"));
  EXPECT_TRUE(holds("step-000020"));
}

TEST_F(TroubledRun, WhenTheLastEvaluationFailsTheWeightsAreSavedAndAResumeMakesUpForIt) {
  tiny_.config.train.evaluate_every = 10;
  EXPECT_THROW(run({.evaluation = 10}), std::bad_alloc);
  EXPECT_THAT(log(), HasSubstr("step 20: evaluation failed (2 times so far)"));
  ASSERT_TRUE(holds("step-000020"));
  tiny_.config.model.vocab_size = 257;
  EXPECT_TRUE(resume(tiny_.config, {}).evaluation.has_value());
}

TEST_F(TroubledRun, WhenCalibratingFailsTheWeightsAreSavedAndAResumeMakesUpForIt) {
  tiny_.config.train.calibrate = true;
  EXPECT_THROW(run({.calibration = 20}), std::bad_alloc);
  EXPECT_THAT(log(), HasSubstr("step 20: calibration failed (1 time so far): memory ran out"));
  ASSERT_TRUE(holds("step-000020"));
  const fs::path step = tiny_.folder / "run/checkpoints/step-000020";
  EXPECT_FALSE(checkpoint::has_temperature(step));
  tiny_.config.model.vocab_size = 257;
  (void)resume(tiny_.config, {});
  EXPECT_TRUE(checkpoint::has_temperature(step));
}

TEST_F(TroubledRun, AStopWhileItIsCalibratedEndsItAsAnyOtherAndAResumeMakesUpForIt) {
  tiny_.config.train.calibrate = true;
  EXPECT_THROW(run({.before_calibration = [] { ::raise(SIGTERM); }}), PreemptedError);
  const fs::path step = tiny_.folder / "run/checkpoints/step-000020";
  EXPECT_FALSE(checkpoint::has_temperature(step));
  tiny_.config.model.vocab_size = 257;
  (void)resume(tiny_.config, {});
  EXPECT_TRUE(checkpoint::has_temperature(step));
}

// A long one must not make a scheduler wait that kills soon after it has asked.
TEST_F(TroubledRun, AStopCutsASampleShortAndAResumeMakesUpForIt) {
  tiny_.config.train.sample_every = 10;
  EXPECT_THROW(run({.before_sample = [] { ::raise(SIGTERM); }}), PreemptedError);
  EXPECT_TRUE(holds("step-000010"));
  EXPECT_THAT(log(), Not(HasSubstr("sample failed")));
  const fs::path samples = tiny_.folder / "run/samples";
  EXPECT_TRUE(fs::is_empty(samples));
  tiny_.config.model.vocab_size = 257;
  (void)resume(tiny_.config, {});
  EXPECT_EQ(std::distance(fs::directory_iterator(samples), {}), 2) << "of steps 10 and 20";
}

// What it says of the calibrated model is no evaluation of the run.
TEST_F(TroubledRun, AnEvaluationThatFailedIsMadeUpForWhereTheRunWasCalibrated) {
  tiny_.config.train.calibrate = true;
  EXPECT_THROW(run({.evaluation = 20}), std::bad_alloc);
  EXPECT_TRUE(checkpoint::has_temperature(tiny_.folder / "run/checkpoints/step-000020"));
  tiny_.config.model.vocab_size = 257;
  const RunResult resumed = resume(tiny_.config, {});
  ASSERT_TRUE(resumed.evaluation.has_value());
  EXPECT_EQ(resumed.evaluation->temperature, std::nullopt);
}

TEST_F(TroubledRun, ASampleThatNeverWorksCostsNoTrainedStep) {
  EXPECT_THROW(run({.sample = 1}), std::bad_alloc);
  EXPECT_TRUE(holds("step-000020"));
}

TEST_F(TroubledRun, AStepThatRunsOutOfMemoryEndsTheRunWithTheStepsBeforeItSaved) {
  EXPECT_THROW(run({.micro_batch = 8}), OutOfMemoryError);
  EXPECT_TRUE(holds("step-000007"));
  EXPECT_EQ(tiny_.step_records().back()["step"].get<std::int64_t>(), 7);
  // With enough memory it ends as if nothing had been.
  tiny_.config.model.vocab_size = 257;
  (void)resume(tiny_.config, {});
  tiny_.config.run.dir = (tiny_.folder / "whole").string();
  (void)pretrain(tiny_.config);
  const char* const weights = "checkpoints/step-000020/model.safetensors";
  EXPECT_EQ(read_file(tiny_.folder / "run" / weights), read_file(tiny_.folder / "whole" / weights));
}

TEST_F(TroubledRun, AnInfiniteWeightThatNoLossShowsMarksTheCheckpoint) {
  tiny_.config.model.tie_embeddings = false;
  tiny_.config.train.steps = tiny_.config.schedule.steps = 3;
  EXPECT_THROW(run({.infinite_weight = true}), NonFiniteError);
  EXPECT_TRUE(tiny_.step_records().back()["loss"].is_number());
  EXPECT_TRUE(holds("step-000003.unsound"));
  EXPECT_FALSE(holds("step-000003"));
}

// Memory, a disk that is full, a checkpoint of another model: whatever stops a resume before its
// run is restored leaves the later steps where a plain `resume` finds them.
TEST_F(TroubledRun, ThatCannotBeRestoredKeepsItsLaterSteps) {
  tiny_.config.train.checkpoint_every = 5;
  tiny_.config.train.keep_last = 10;
  run({});
  tiny_.config.model.vocab_size = 257;
  const fs::path checkpoints = tiny_.folder / "run/checkpoints";
  const auto restore = [&](const config::Config& config) {
    const RunFolder folder = RunFolder::reopen(tiny_.config.run.dir);
    const Build parts = build(config);
    const ResumePoint point = find_resume_point(folder, tiny_.config, {}, 10, {});
    tidy_and_tell(point, tiny_.config, folder, 1);
    const auto communicator = comm::make_self_communicator();
    parallel::RankGroups groups(*communicator, 1);
    NextTokenTask task(parts.config, *parts.decoder, parts.training, nullptr);
    const StopSignal stop;
    RunLoop loop(parts.config, task, groups, folder, stop);
    loop.restore(point);
  };
  config::Config other = tiny_.config;
  other.model.hidden_size *= 2;
  const std::string metrics = read_file(tiny_.folder / "run/metrics.jsonl");
  EXPECT_THROW(restore(other), Error);
  EXPECT_TRUE(holds("step-000015"));
  EXPECT_EQ(checkpoint::pointed_at(checkpoints, checkpoint::kLatest).filename(), "step-000020");
  EXPECT_EQ(read_file(tiny_.folder / "run/metrics.jsonl"), metrics);
  restore(tiny_.config);
  EXPECT_FALSE(holds("step-000015"));
  EXPECT_TRUE(holds("step-000015.rolled-back"));
  EXPECT_EQ(checkpoint::pointed_at(checkpoints, checkpoint::kLatest).filename(), "step-000010");
}

// Somebody clears his runs away, and begins another of the same name.
TEST_F(TroubledRun, WhoseFolderIsReplacedTouchesNothingInTheOther) {
  tiny_.config.train.checkpoint_every = 4;
  tiny_.config.train.keep_last = 1;
  tiny_.config.train.sample_every = 5;
  tiny_.config.train.evaluate_every = 5;
  const fs::path run_folder = tiny_.folder / "run";
  // Before a save, and after one whose weights the next step confirms, so that older ones go.
  for (const std::int64_t before : {7, 5}) {
    SCOPED_TRACE(before);
    const auto exchange = [&](std::int64_t step) {
      if (step != before) return;
      fs::rename(run_folder, tiny_.folder / "moved");
      fs::create_directories(run_folder / "samples");
      for (const char* const name : {"step-000001", "step-000002"}) {
        fs::create_directories(run_folder / "checkpoints" / name);
        write_file_atomically(run_folder / "checkpoints" / name / "manifest.json", "{}");
      }
    };
    std::string message;
    try {
      run({.before_forward = exchange});
    } catch (const StorageError& error) {
      message = error.what();
    }
    EXPECT_THAT(message, HasSubstr("was moved, removed or replaced"));
    EXPECT_TRUE(fs::is_empty(run_folder / "samples"));
    EXPECT_TRUE(holds("step-000001"));
    EXPECT_TRUE(holds("step-000002"));
    EXPECT_EQ(std::distance(fs::directory_iterator(run_folder), {}), 2);
    EXPECT_EQ(std::distance(fs::directory_iterator(run_folder / "checkpoints"), {}), 2);
    EXPECT_TRUE(fs::exists(tiny_.folder / "moved/checkpoints/step-000004/manifest.json"));
    fs::remove_all(run_folder);
    fs::remove_all(tiny_.folder / "moved");
  }
}

TEST_F(TroubledRun, WhoseFolderIsMovedBackGoesOnSaving) {
  tiny_.config.train.checkpoint_every = 4;
  const fs::path run_folder = tiny_.folder / "run";
  const auto away_for_a_while = [&](std::int64_t step) {
    if (step == 7) fs::rename(run_folder, tiny_.folder / "moved");
    if (step == 10) fs::rename(tiny_.folder / "moved", run_folder);
  };
  EXPECT_NO_THROW(run({.before_forward = away_for_a_while}));
  EXPECT_THAT(log(), HasSubstr("step 8: checkpoint not saved (1 in a row)"));
  EXPECT_TRUE(holds("step-000016"));
  EXPECT_TRUE(holds("step-000020"));
}

// A prepared data set is copied over, a disk is full while it is written, a server goes away: a map
// of such a file would end the process with SIGBUS.
TEST_F(TroubledRun, WhoseDataIsCutShortEndsWithTheStepsBeforeItSaved) {
  std::string message;
  try {
    run({.before_forward = [&](std::int64_t step) {
      if (step == 7) fs::resize_file(tiny_.folder / "data/train.bin", 100);
    }});
  } catch (const DataError& error) {
    message = error.what();
  }
  EXPECT_THAT(message, HasSubstr("data/train.bin: the file was cut short"));
  const std::int64_t last = tiny_.step_records().back()["step"].get<std::int64_t>();
  EXPECT_GE(last, 7);
  EXPECT_LT(last, 20);
  EXPECT_TRUE(holds(fmt::format("step-{:06}", last).c_str()));
}

TEST(NextTokenEvaluation, BitsAreOfTheBytesThatWerePredicted) {
  TinyRunFolder tiny;
  const Build parts = build(tiny.config);
  NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
  const std::optional<telemetry::EvaluationRecord> record = task.evaluate({});
  std::int64_t num_bytes = 0;  // all labels but separators
  for (std::int64_t i = 0; i < parts.validation->num_samples_per_epoch(); ++i) {
    const data::Sample window = parts.validation->get(i);
    num_bytes += std::count_if(window.token.begin() + 1, window.token.end(),
                               [](std::int32_t token) { return token < 256; });
  }
  const double nats = record.value().loss * static_cast<double>(record->tokens);
  EXPECT_NEAR(record->bits_per_byte.value(),
              nats / std::numbers::ln2 / static_cast<double>(num_bytes), 1e-9);
}

TEST(NextTokenEvaluation, TakesNoMoreAtATimeThanTrainingDoes) {
  TinyRunFolder tiny;
  tiny.config.train.micro_batch_size = 2;
  const Build parts = build(tiny.config);
  NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
  std::vector<std::int64_t> done{0};
  (void)task.evaluate(
      {.progress = [&](std::int64_t windows, std::int64_t /*total*/) { done.push_back(windows); }});
  ASSERT_GT(done.size(), 2U);
  for (std::size_t i = 1; i < done.size(); ++i) EXPECT_LE(done[i] - done[i - 1], 2);
}

}  // namespace
}  // namespace switchyard::train
