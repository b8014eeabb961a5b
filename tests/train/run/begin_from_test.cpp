// Pretraining that begins with another run's weights.
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"
#include "switchyard/train/pretrain.h"
#include "train/run/begin_from.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Tensors = std::map<std::string, at::Tensor>;

class BeginFrom : public ::testing::Test {
 protected:
  BeginFrom() {
    config_.model.moe.router = config::RouterConfig(config::TopKOptions{.bias_rate = 1e-2}, true);
    config_.train.steps = 6;
    (void)pretrain(config_);
    config_.run.from = (tiny_.folder / "run").string();
    config_.run.dir = (tiny_.folder / "on").string();
    config_.run.seed = 12;  // whose own weights would be others
  }

  [[nodiscard]] checkpoint::Checkpoint last(const std::string& run) const {
    return checkpoint::Checkpoint::open(tiny_.folder / run);
  }

  template <typename Kind>
  [[nodiscard]] std::string problem() const {
    try {
      (void)pretrain(config_);
    } catch (const Kind& error) {
      return error.what() + std::string(" | ") + error.hint();
    }
    return "nothing";
  }

  static void expect_equal(const Tensors& a, const Tensors& b) {
    ASSERT_FALSE(a.empty());
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
  }

  TinyRunFolder tiny_;
  config::Config config_ = tiny_.config;
};

TEST_F(BeginFrom, WeightsAreTheCheckpointsBitForBitAndTheOptimizerIsNew) {
  config_.optim.learning_rate = 0.0;  // what the first step saves is what it began with
  config_.optim.weight_decay = 0.0;
  config_.train.steps = 1;
  (void)pretrain(config_);
  expect_equal(last("run").weights().copies(), last("on").weights().copies());
  const format::Json origin = format::parse_json(read_file(tiny_.folder / "on/origin.json"), "x");
  EXPECT_THAT(origin["from"].get<std::string>(), HasSubstr("run/checkpoints/step-000006"));
  EXPECT_EQ(origin["step"], 6);
  EXPECT_THAT(read_file(tiny_.folder / "on/config.resolved.yaml"), HasSubstr(config_.run.from));
  // One update made, not seven: the first moments are a tenth of one gradient.
  const format::Json state = format::parse_json(last("on").training_state(), "x");
  EXPECT_EQ(state["step"], 1);
}

TEST_F(BeginFrom, StateOfRoutersGoesOnWhereItMeansTheSame) {
  config_.optim.learning_rate = 0.0;
  config_.optim.weight_decay = 0.0;
  config_.train.freeze_router = true;
  config_.train.steps = 2;
  (void)pretrain(config_);
  expect_equal(last("run").router_state().copies(), last("on").router_state().copies());
}

// Their weights and, with normalised logits, the scale of these.
TEST_F(BeginFrom, AFrozenRouterKeepsAllThatItLearnedWhileTheRestOfTheModelMoves) {
  config_.model.moe.router =
      config::RouterConfig(config::TopPOptions{.p = 0.5, .normalize_logits = true});
  config_.run.dir = (tiny_.folder / "normalized").string();
  config_.run.from.clear();
  (void)pretrain(config_);
  config_.run.from = (tiny_.folder / "normalized").string();
  config_.run.dir = (tiny_.folder / "frozen").string();
  config_.train.freeze_router = true;
  (void)pretrain(config_);
  const Tensors before = last("normalized").weights().copies();
  const Tensors after = last("frozen").weights().copies();
  int num_scales = 0;
  int num_moved = 0;
  for (const auto& [name, tensor] : before) {
    const bool is_router = name.find(".router.") != std::string::npos;
    EXPECT_TRUE(!is_router || at::equal(tensor, after.at(name))) << name;
    num_scales += name.ends_with(".router.logit_scale") ? 1 : 0;
    num_moved += !is_router && !at::equal(tensor, after.at(name)) ? 1 : 0;
  }
  EXPECT_GT(num_scales, 0);
  EXPECT_GT(num_moved, 0);
}

TEST_F(BeginFrom, TheFirstLossIsThatOfATrainedModel) {
  (void)pretrain(config_);
  const double before = tiny_.step_records("run").front()["lm_loss"].get<double>();
  const double after = tiny_.step_records("on").front()["lm_loss"].get<double>();
  EXPECT_LT(after, before - 0.3);
  EXPECT_EQ(tiny_.step_records("on").front()["learning_rate"],
            tiny_.step_records("run").front()["learning_rate"])
      << "a schedule of its own";
}

TEST_F(BeginFrom, AnotherModelIsRefusedWithWhatDiffers) {
  config_.model.ffn_size = 40;
  EXPECT_THAT(problem<DataError>(), AllOf(HasSubstr("run.from"), HasSubstr("gate_proj")));
  config_ = tiny_.config;
  config_.run.from = (tiny_.folder / "run").string();
  config_.run.dir = (tiny_.folder / "encoder").string();
  config_.model.type = "encoder";
  EXPECT_THAT(problem<UsageError>(), HasSubstr("is of type decoder, and model.type is encoder"));
}

TEST_F(BeginFrom, AnotherTokenizerIsRefused) {
  data::PrepareOptions options;
  options.inputs = {(tiny_.folder / "data.txt").string()};
  options.tokenizer = "bpe:300";
  options.output = tiny_.folder / "pieces";
  options.validation = 0.1;
  (void)data::prepare(options);
  config_.data.path = (tiny_.folder / "pieces").string();
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("another tokenizer"),
                                           HasSubstr("switchyard prepare --tokenizer bytes")));
}

TEST_F(BeginFrom, ARunThatSavedNothingBeginsAgainWithTheSameCheckpointOrNotAtAll) {
  config_.train.steps = 3;
  (void)pretrain(config_);
  const std::string whole = read_file(last("on").folder() / "model.safetensors");
  const auto forget = [&] { fs::remove_all(tiny_.folder / "on/checkpoints"); };
  const config::Config again = config::load(tiny_.folder / "on/config.resolved.yaml", {}).config;
  forget();
  (void)resume(again, {});
  EXPECT_EQ(read_file(last("on").folder() / "model.safetensors"), whole);
  // The run that it began with has gone on since, which changes nothing.
  config::Config first = config::load(tiny_.folder / "run/config.resolved.yaml", {}).config;
  first.train.steps = 8;
  (void)resume(first, {});
  forget();
  (void)resume(again, {});
  EXPECT_EQ(read_file(last("on").folder() / "model.safetensors"), whole);
  fs::remove_all(tiny_.folder / "run/checkpoints/step-000006");
  forget();
  EXPECT_THAT([&] { (void)resume(again, {}); },
              ::testing::ThrowsMessage<DataError>(HasSubstr("that the run began with")));
}

TEST_F(BeginFrom, AFrozenRouterWhoseStateDoesNotComeAlongIsWarnedOf) {
  const auto told = [&](const std::string& run) {
    config_.run.dir = (tiny_.folder / run).string();
    ::testing::internal::CaptureStderr();
    (void)pretrain(config_);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(told("same"), ::testing::Not(HasSubstr("begins afresh")));
  // Its state is that of one rate.
  config_.model.moe.router = config::RouterConfig(config::TopPOptions{.p = 0.5, .target_k = 2.0});
  config_.model.moe.loss.load_balance = 1e-2;
  EXPECT_THAT(told("free"), AllOf(HasSubstr("the state begins afresh"),
                                  ::testing::Not(HasSubstr("stays there"))));
  config_.train.freeze_router = true;
  EXPECT_THAT(told("frozen"), AllOf(HasSubstr("warning"), HasSubstr("stays there")));
  config_.run.from.clear();
  EXPECT_THAT(told("random"), HasSubstr("the routers stay as random as they begin"));
}

}  // namespace
}  // namespace switchyard::train
