// train.calibrate: a temperature beside the last checkpoint, which training never sees.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>

#include "switchyard/checkpoint/calibration.h"
#include "switchyard/comm/threads.h"
#include "switchyard/inference/calibrate.h"
#include "switchyard/ops/parameter.h"
#include "switchyard/telemetry/read_metrics.h"
#include "switchyard/train/build.h"
#include "train/run/resume_fixture.h"

namespace switchyard::train {
namespace {

using ::testing::SizeIs;

class Calibrate : public Resume {
 protected:
  Calibrate() {
    config_.train.calibrate = true;
    config_.optim.learning_rate = 0.1;  // as sure as so few steps make it
  }
  [[nodiscard]] double temperature_of(const std::string& run) const {
    return checkpoint::temperature_of(last_checkpoint(run));
  }
  [[nodiscard]] std::size_t num_calibrations(const std::string& run) const {
    const auto records = tiny_.records(run);
    return std::count_if(records.begin(), records.end(), [](const format::Json& record) {
      return record.value("event", "") == "calibration";
    });
  }
};

TEST_F(Calibrate, TheTemperatureOfTheLastCheckpointIsWhatItsWeightsAskForAndLoads) {
  train_at_once("run");
  const double temperature = temperature_of("run");
  EXPECT_GT(std::abs(temperature - 1.0), 0.01);
  EXPECT_GT(temperature, inference::tried_temperatures().front());
  EXPECT_LT(temperature, inference::tried_temperatures().back());
  EXPECT_FALSE(checkpoint::has_temperature(tiny_.folder / "run/checkpoints/step-000014"));

  EXPECT_EQ(load_model(tiny_.folder / "run").decoder->head().temperature(), temperature);

  const telemetry::Metrics metrics = telemetry::read_metrics(tiny_.folder / "run/metrics.jsonl");
  ASSERT_THAT(metrics.evaluations, SizeIs(5)) << "after 4, 8 and so on";
  const telemetry::EvaluationRecord& plain = metrics.evaluations.back();
  ASSERT_TRUE(metrics.calibration.has_value());
  EXPECT_EQ(metrics.calibration->step, 20);
  EXPECT_EQ(metrics.calibration->temperature, temperature);
  EXPECT_LT(metrics.calibration->loss, plain.loss);
  EXPECT_LT(metrics.calibration->bits_per_byte.value(), plain.bits_per_byte.value());
  EXPECT_EQ(metrics.calibration->experts_per_token, plain.experts_per_token);
}

// A trained decoder whose logits somebody multiplied, and its validation split.
class FitTemperature : public Resume {
 protected:
  static constexpr double kFactor = 1.3;

  FitTemperature() {
    config_.train.precision = "fp64";
    train_at_once("run");
    model_.emplace(load_model(tiny_.folder / "run"));
    split_.emplace(data::SampleSource::validation(model_->config.data));
    multiply_logits(2.5);  // so few steps leave it not sure enough
    plain_ = fit();
    multiply_logits(kFactor);
  }

  void multiply_logits(double factor) const {
    ops::Parameter& norm = *model_->decoder->parameters().back();
    EXPECT_EQ(norm.parts.front().name, "model.norm.weight");
    norm.master.detach().mul_(factor);
    ops::publish(norm);
  }

  [[nodiscard]] double loss_at(double temperature) const {
    model_->decoder->head().set_temperature(temperature);
    const auto result = inference::evaluate_validation(*model_->decoder, *split_, {.step = 20});
    model_->decoder->head().set_temperature(1.0);
    return result->sums.loss();
  }
  [[nodiscard]] double fit(const inference::ValidationOptions& options = {.step = 20}) const {
    return inference::fit_temperature(*model_->decoder, *split_, options).value();
  }

  std::optional<LoadedModel> model_;
  std::optional<data::SampleSource> split_;
  double plain_ = 0.0;  // before kFactor
};

TEST_F(FitTemperature, FindsWhatLogitsWereMultipliedByAndNoOtherTemperatureBeatsIt) {
  const double fitted = fit();
  EXPECT_NEAR(fitted, kFactor * plain_, 0.005);
  const double loss = loss_at(fitted);
  EXPECT_LT(loss, loss_at(1.0));
  for (double temperature = 0.8; temperature < 2.5; temperature += 0.01) {
    EXPECT_LT(loss, loss_at(temperature) + 1e-5) << temperature << ", not " << fitted;
  }
}

TEST_F(FitTemperature, DoesNotDependOnTheOneThatIsSetOrOnPasses) {
  const double fitted = fit();
  EXPECT_NEAR(fit({.tokens_per_pass = 16, .step = 20}), fitted, 1e-9);
  model_->decoder->head().set_temperature(2.0);
  EXPECT_EQ(fit(), fitted);
  EXPECT_EQ(model_->decoder->head().temperature(), 2.0);
}

TEST_F(FitTemperature, IsOfAsManyTokensAsAreAskedForAndStopsWhenTold) {
  EXPECT_NE(fit({.max_tokens = 32, .step = 20}), fit());
  EXPECT_EQ(
      inference::fit_temperature(*model_->decoder, *split_, {.should_stop = [] { return true; }}),
      std::nullopt);
}

TEST_F(Calibrate, ChangesNoBitOfTrainingNorOfARunThatGoesOnFromIt) {
  train_at_once("run");
  config_.train.calibrate = false;
  train_at_once("plain");
  expect_same_losses("run", "plain");
  EXPECT_EQ(read_file(last_checkpoint("run") / "model.safetensors"),
            read_file(last_checkpoint("plain") / "model.safetensors"));
  EXPECT_FALSE(checkpoint::has_temperature(last_checkpoint("plain")));
  for (const char* run : {"run", "plain"}) {
    resume_after(run, 20, {}, [](config::Config& config) { config.train.steps = 25; });
  }
  EXPECT_EQ(read_file(tiny_.folder / "run/checkpoints/step-000025/model.safetensors"),
            read_file(tiny_.folder / "plain/checkpoints/step-000025/model.safetensors"));
  const fs::path later = tiny_.folder / "run/checkpoints/step-000025";
  EXPECT_TRUE(checkpoint::has_temperature(later));
  EXPECT_NE(checkpoint::temperature_of(later), temperature_of("run")) << "of its own weights";
}

TEST_F(Calibrate, AResumeFindsTheSameOneAndMakesUpForOneThatIsMissingOnly) {
  train_at_once("run");
  const double temperature = temperature_of("run");
  resume_after("run", 20);
  EXPECT_EQ(num_calibrations("run"), 1) << "nothing to do";
  resume_after("run", 14);  // as after a kill
  EXPECT_EQ(temperature_of("run"), temperature);
  fs::remove(last_checkpoint("run") / "calibration.json");
  resume_after("run", 20);
  EXPECT_EQ(temperature_of("run"), temperature);
}

TEST_F(Calibrate, AFinishedRunCanHaveItAfterwards) {
  config_.train.calibrate = false;
  train_at_once("run");
  resume_after("run", 20, {}, [](config::Config& config) { config.train.calibrate = true; });
  EXPECT_NE(temperature_of("run"), 1.0);
  EXPECT_TRUE(config::load(tiny_.folder / "run/config.resolved.yaml", {}).config.train.calibrate)
      << "a resume that goes on with it must know";
}

TEST_F(Calibrate, ARunThatStopsEarlyHasItToo) {
  config_.optim.learning_rate = 0.0;
  config_.train.early_stop_patience = 2;
  train_at_once("run");
  const fs::path last = tiny_.folder / "run/checkpoints/step-000012";
  EXPECT_TRUE(checkpoint::has_temperature(last));
  EXPECT_EQ(num_calibrations("run"), 1);
}

TEST_F(Calibrate, RanksThatShareExpertsFindTheTemperatureOfOne) {
  config_.train.precision = "fp64";
  config_.model.dropout = 0.0;
  train_at_once("run");
  config_.run.dir = (tiny_.folder / "ranks").string();
  config_.parallel.expert = 2;
  config_.train.micro_batch_size /= 2;
  comm::run_ranks(2, [this](comm::Communicator& world) { (void)pretrain(config_, world); });
  ASSERT_TRUE(checkpoint::has_temperature(last_checkpoint("ranks")));
  EXPECT_NEAR(temperature_of("ranks"), temperature_of("run"), 1e-9);
  EXPECT_NE(temperature_of("ranks"), 1.0);
  EXPECT_EQ(num_calibrations("ranks"), 1);
}

}  // namespace
}  // namespace switchyard::train
