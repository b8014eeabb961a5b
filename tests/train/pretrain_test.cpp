#include "switchyard/train/pretrain.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "support/step_record_keys.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/format/json.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;

class Pretrain : public ::testing::Test {
 protected:
  [[nodiscard]] std::vector<format::Json> records() const { return tiny_.records(); }
  [[nodiscard]] std::vector<format::Json> step_records() const { return tiny_.step_records(); }

  TinyRunFolder tiny_;
  const testing::TemporaryFolder& folder_ = tiny_.folder;
  config::Config& config_ = tiny_.config;
};

TEST_F(Pretrain, LearnsEvaluatesAndSavesIntoItsRunFolder) {
  config_.train.evaluate_every = 10;
  config_.train.checkpoint_every = 8;
  config_.train.keep_last = 2;
  config_.train.sample_every = 15;
  const RunResult result = pretrain(config_);
  EXPECT_EQ(result.num_steps, 20);
  EXPECT_EQ(result.num_tokens, 20 * 8 * 16);
  const auto steps = step_records();
  ASSERT_EQ(steps.size(), 20U);
  EXPECT_LT(steps.back()["lm_loss"].get<double>(), 0.8 * steps.front()["lm_loss"].get<double>());

  std::vector<std::int64_t> evaluated;
  for (const format::Json& record : records()) {
    if (record.contains("event")) evaluated.push_back(record["step"].get<std::int64_t>());
  }
  EXPECT_EQ(evaluated, (std::vector<std::int64_t>{10, 20}));
  ASSERT_TRUE(result.evaluation.has_value());
  EXPECT_LT(result.evaluation->bits_per_byte.value(), 8.0);

  // Kept: the newest two of 8, 16 and 20.
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/checkpoints/step-000008"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/checkpoints/step-000016/manifest.json"));
  EXPECT_EQ(result.checkpoint, folder_ / "run/checkpoints/step-000020");
  EXPECT_TRUE(read_file(folder_ / "run/samples/step-000015.txt").starts_with("line"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/samples/step-000020.txt"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/config.resolved.yaml"));
  EXPECT_THAT(read_file(folder_ / "run/log.txt"), HasSubstr("step 20/20 100% | loss"));
  const format::Json environment =
      format::parse_json(read_file(folder_ / "run/environment.json"), "environment.json");
  for (const char* key : {"switchyard", "libtorch", "cpu", "threads", "precision", "peak_flops"}) {
    EXPECT_TRUE(environment.contains(key)) << key;
  }
}

TEST_F(Pretrain, RecordsHaveAllStableKeysAndStepsFollowLogEvery) {
  config_.train.steps = 7;
  config_.train.log_every = 3;
  (void)pretrain(config_);
  std::vector<std::int64_t> logged;
  for (const format::Json& record : step_records()) {
    logged.push_back(record["step"].get<std::int64_t>());
    for (const char* key : testing::kStepRecordNumbers) {
      ASSERT_TRUE(record.contains(key)) << key;
      EXPECT_TRUE(record[key].is_number()) << key;
    }
    EXPECT_EQ(record["layers"].size(), 1U);
    EXPECT_GT(record["mfu"].get<double>(), 0.0);
  }
  EXPECT_EQ(logged, (std::vector<std::int64_t>{1, 3, 6, 7}));
}

TEST_F(Pretrain, RepeatsItselfBitForBit) {
  config_.train.steps = 6;
  (void)pretrain(config_);
  const auto first = step_records();
  std::filesystem::remove_all(folder_ / "run");
  (void)pretrain(config_);
  const auto second = step_records();
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i]["loss"].get<double>(), second[i]["loss"].get<double>());
    EXPECT_EQ(first[i]["grad_norm"].get<double>(), second[i]["grad_norm"].get<double>());
  }
}

TEST_F(Pretrain, CheckpointAloneGivesTheSameModelBack) {
  config_.model.moe.router = config::RouterConfig("attention_importance");  // has state
  config_.train.steps = 5;
  const RunResult result = pretrain(config_);
  std::filesystem::rename(result.checkpoint, folder_ / "moved");
  std::filesystem::remove_all(folder_ / "run");
  std::filesystem::remove_all(folder_ / "data");
  const LoadedModel model = load_model(folder_ / "moved");
  EXPECT_EQ(model.step, 5);
  EXPECT_EQ(model.tokenizer.kind(), "bytes");
  EXPECT_EQ(model.config.model.vocab_size, model.tokenizer.vocab_size());
  // The evaluation at the end of training saw the same weights and router state.
  const TinyRun again(model.config);
  const auto checkpoint = checkpoint::Checkpoint::open(folder_ / "moved");
  ASSERT_FALSE(checkpoint.router_state().tensors().empty());
  load_weights(*again.decoder, checkpoint.weights());
  load_router_state(*again.decoder, checkpoint.router_state());
  const auto a = model.decoder->parameters();
  const auto b = again.decoder->parameters();
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(at::equal(a[i]->master.detach(), b[i]->master.detach())) << a[i]->name;
    EXPECT_TRUE(at::equal(a[i]->value.detach(), b[i]->value.detach())) << a[i]->name;
  }
  for (const auto& [layer, router] : model.decoder->routers()) {
    for (const auto& [name, value] : again.decoder->routers().at(layer)->state()) {
      EXPECT_TRUE(at::equal(router->state().at(name), value)) << name;
    }
  }
}

TEST_F(Pretrain, RefusesToOverwriteARun) {
  config_.train.steps = 1;
  (void)pretrain(config_);
  const std::string metrics = read_file(folder_ / "run/metrics.jsonl");
  EXPECT_THROW((void)pretrain(config_), UsageError);
  EXPECT_EQ(read_file(folder_ / "run/metrics.jsonl"), metrics);
}

TEST_F(Pretrain, SignalFinishesTheStepSavesItAndSaysSo) {
  config_.train.steps = 1000000;
  config_.train.log_every = 1000000;
  // Step 1 is always logged; the signal comes as soon as it is there.
  std::thread sender([this] {
    while (!std::filesystem::exists(folder_ / "run/metrics.jsonl") ||
           std::filesystem::file_size(folder_ / "run/metrics.jsonl") == 0) {
      std::this_thread::yield();
    }
    ::kill(::getpid(), SIGTERM);
  });
  try {
    (void)pretrain(config_);
    ADD_FAILURE() << "the signal was ignored";
  } catch (const PreemptedError& error) {
    EXPECT_THAT(error.what(), HasSubstr("SIGTERM"));
  }
  sender.join();
  const LoadedModel model = load_model(folder_ / "run");
  EXPECT_GE(model.step, 1);
  EXPECT_LT(model.step, 1000000);
  // The steps since the last record are told as well.
  EXPECT_EQ(step_records().back()["step"].get<std::int64_t>(), model.step);
}

TEST_F(Pretrain, LossThatStaysNonFiniteStopsTheRunAndItsWeightsAreMarked) {
  config_.optim.learning_rate = 1e30;  // the first update destroys the model
  config_.optim.clip_norm = 0.0;
  config_.train.max_skipped_steps = 3;
  EXPECT_THROW((void)pretrain(config_), NonFiniteError);
  const auto steps = step_records();
  EXPECT_EQ(steps.back()["skipped_steps"].get<std::int64_t>(), 3);
  EXPECT_TRUE(steps.back()["loss"].is_null());
  EXPECT_LT(steps.size(), 20U);
  EXPECT_EQ(checkpoint::unsound_steps_in(folder_ / "run/checkpoints").size(), 1U);
  EXPECT_TRUE(checkpoint::steps_in(folder_ / "run/checkpoints").empty());
}

TEST_F(Pretrain, RefusedSettingsLeaveTheFolderFree) {
  config_.train.micro_batch_size = 3;
  EXPECT_THROW((void)pretrain(config_), UsageError);
  config_.train.micro_batch_size = 8;
  config_.model.vocab_size = 100;  // fewer than the tokenizer's 257
  EXPECT_THROW((void)pretrain(config_), UsageError);
  config_.model.vocab_size = 0;
  config_.train.steps = 1;
  EXPECT_EQ(pretrain(config_).num_steps, 1);  // the folder is still free
}

TEST_F(Pretrain, AModelThatCanNeverFitIsRefusedBeforeAnythingIsMade) {
  config_.model.vocab_size = 1 << 24;
  config_.model.hidden_size = 1 << 20;
  config_.model.num_heads = config_.model.num_kv_heads = 2;
  config_.model.head_dim = 1 << 15;
  EXPECT_THROW((void)pretrain(config_), OutOfMemoryError);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

}  // namespace
}  // namespace switchyard::train
