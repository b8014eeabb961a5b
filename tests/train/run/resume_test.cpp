// A run that is stopped and resumed against one that never stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/config/router.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/train/pretrain.h"
#include "switchyard/train/run_folder.h"
#include "train/run/resume_fixture.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* name;
  std::function<void(config::Config&)> set;
};

class ResumeIsBitExact : public Resume, public ::testing::WithParamInterface<Case> {};

TEST_P(ResumeIsBitExact, WhereverItWasKilled) {
  config_.train.checkpoint_every = 1;
  config_.train.keep_last = 20;
  GetParam().set(config_);
  train_at_once("whole");
  // The same run, resumed again and again, each time from further back.
  train_at_once("killed");
  for (const std::int64_t stop : {19, 16, 15, 8, 1}) {
    SCOPED_TRACE("went on from step " + std::to_string(stop));
    resume_after("killed", stop);
    expect_same_losses("whole", "killed");
    expect_same_files("whole", "killed");
    EXPECT_EQ(tiny_.records("killed").back()["step"].get<std::int64_t>(), 20);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Runs, ResumeIsBitExact,
    ::testing::Values(
        Case{"fp32", [](config::Config&) {}},
        Case{"encoder",
             [](config::Config& config) {
               config.model.type = "encoder";
               config.data.mask_rate = 0.3;
               config.train.sample_prompt.clear();
             }},
        Case{"bf16", [](config::Config& config) { config.train.precision = "bf16"; }},
        Case{"fp64", [](config::Config& config) { config.train.precision = "fp64"; }},
        Case{"blend",
             [](config::Config& config) {
               const fs::path first = config.data.path;
               config.data.blend = {{.path = first.string(), .weight = 2.0},
                                    {.path = (first.parent_path() / "other").string()}};
               config.data.path = "";
             }},
        Case{"best_kept",
             [](config::Config& config) {
               config.train.keep_best = true;
               config.train.evaluate_every = 3;
             }},
        Case{"recompute", [](config::Config& c) { c.train.recompute = true; }},
        Case{"two_micro_batches", [](config::Config& c) { c.train.micro_batch_size = 4; }},
        // There are about 380 windows: with 25 a step they are used up after 15.
        Case{"across_epochs",
             [](config::Config& config) {
               config.train.global_batch_size = 25;
               config.train.micro_batch_size = 25;
             }},
        Case{"router_warm_up",
             [](config::Config& config) {
               config.model.moe.router = config::RouterConfig(
                   config::TopPOptions{.p_warmup = config::PWarmup{.from = 1.0, .steps = 15}});
             }},
        Case{"router_with_biases",
             [](config::Config& config) {
               config.model.moe.router =
                   config::RouterConfig(config::TopKOptions{.bias_rate = 1e-2}, true);
             }},
        Case{"router_with_an_l1_coefficient",
             [](config::Config& config) {
               config.model.moe.router =
                   config::RouterConfig(config::ReluOptions{.l1_start = 1e-3});
             }},
        Case{"router_with_thresholds",
             [](config::Config& config) {
               config.model.moe.router =
                   config::RouterConfig(config::ExpertThresholdOptions{.threshold_warmup = 6});
             }},
        Case{"router_with_a_target_and_a_scale",
             [](config::Config& config) {
               config.model.moe.router = config::RouterConfig(
                   config::TopPOptions{.target_k = 2.0, .normalize_logits = true});
             }},
        Case{"shared_expert",
             [](config::Config& config) {
               config.model.moe.shared_expert_size = 12;
               config.model.moe.shared_expert_gate = true;
             }},
        Case{"router_with_state",
             [](config::Config& config) {
               // As the resolved config has it.
               config.model.moe.router =
                   config::RouterConfig(config::AttentionImportanceOptions{.k_max = 4});
             }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(Resume, ARepeatedResumeOfAFinishedRunChangesNothing) {
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  const std::string before = read_file(last_checkpoint("run") / "model.safetensors");
  const RunResult result = resume(config_, {});
  EXPECT_EQ(result.num_steps, 20);
  EXPECT_EQ(result.checkpoint, last_checkpoint("run"));
  EXPECT_EQ(read_file(last_checkpoint("run") / "model.safetensors"), before);
  EXPECT_EQ(tiny_.step_records().size(), 20U);
}

TEST_F(Resume, RolledBackStepsAreMarkedAndATornLineIsCutOff) {
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  fs::remove_all(last_checkpoint("run"));  // as if it had been killed before it
  std::ofstream(tiny_.folder / "run/metrics.jsonl", std::ios::app) << "{\"step\": 21, \"lo";
  (void)resume(config_, {});
  bool marked = false;
  for (const format::Json& record : tiny_.records()) {  // parses every line
    if (record.value("event", "") != "resume") continue;
    EXPECT_EQ(record["step"].get<std::int64_t>(), 14);
    marked = true;
  }
  EXPECT_TRUE(marked);
  EXPECT_EQ(tiny_.step_records().size(), 20U);
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"),
              HasSubstr("6 later steps were not saved and are made again"));
}

TEST_F(Resume, ADamagedNewestCheckpointIsSetAsideAndTheOneBeforeGivesTheSameEnd) {
  train_at_once("whole");
  train_at_once("run");
  const fs::path newest = last_checkpoint("run");
  std::ofstream(newest / "optimizer.safetensors", std::ios::app) << "x";
  config_.model.vocab_size = kBytesVocab;
  (void)resume(config_, {});
  EXPECT_TRUE(fs::exists(newest.string() + ".damaged"));
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"), HasSubstr("optimizer.safetensors: "));
  expect_same_files("whole", "run");
}

TEST_F(Resume, ARunWithoutAnyCheckpointStartsAgain) {
  train_at_once("whole");
  train_at_once("run");
  fs::remove_all(tiny_.folder / "run/checkpoints");
  config_.model.vocab_size = kBytesVocab;
  (void)resume(config_, {});
  expect_same_losses("whole", "run");
  expect_same_files("whole", "run");
}

TEST_F(Resume, AnEvaluationThatAStopCutShortIsMadeUpFor) {
  config_.train.checkpoint_every = 4;
  config_.train.keep_best = true;
  train_at_once("run");
  const fs::path saved = tiny_.folder / "run/checkpoints/step-000016";
  fs::remove_all(last_checkpoint("run"));
  // As if the run had been stopped during the evaluation after step 16.
  format::Json state = format::parse_json(read_file(saved / "training_state.json"), "state");
  EXPECT_EQ(state["evaluated_step"], 12);  // the save comes before the evaluation
  forget_evaluation(16);
  fs::remove(tiny_.folder / "run/checkpoints/BEST");
  const auto evaluated_after_resume = [this] {
    std::vector<std::int64_t> steps;
    for (const format::Json& record : tiny_.records()) {
      const std::string event = record.value("event", "");
      if (event == "resume") steps.clear();
      if (event == "evaluation") steps.push_back(record["step"].get<std::int64_t>());
    }
    return steps;
  };
  config_.model.vocab_size = kBytesVocab;
  config_.train.steps = 16;  // it is the last step
  EXPECT_NO_THROW((void)resume(config_, {}));
  EXPECT_EQ(evaluated_after_resume(), (std::vector<std::int64_t>{16}));
  EXPECT_EQ(read_file(tiny_.folder / "run/checkpoints/BEST"), "step-000016\n");
  // Once is enough.
  EXPECT_NO_THROW((void)resume(config_, {}));
  EXPECT_TRUE(evaluated_after_resume().empty());
  config_.train.steps = 20;
  EXPECT_NO_THROW((void)resume(config_, {}));
  EXPECT_EQ(evaluated_after_resume(), (std::vector<std::int64_t>{20}));
}

TEST_F(Resume, ChangesThatWouldMakeItAnotherRunAreRefusedAllAtOnceAndNothingIsTouched) {
  train_at_once("run");
  const std::string metrics = read_file(tiny_.folder / "run/metrics.jsonl");
  config_.model.vocab_size = kBytesVocab;
  config_.model.hidden_size = 64;
  config_.optim.learning_rate = 0.5;
  config_.model.moe.router = config::RouterConfig(config::TopKOptions{});
  try {
    (void)resume(config_, {});
    ADD_FAILURE() << "went on with another model";
  } catch (const config::ConfigError& error) {
    EXPECT_EQ(error.problems().size(), 3U) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("model.hidden_size: the run was started with 32"));
    EXPECT_THAT(error.what(), HasSubstr("optim.learning_rate"));
    EXPECT_THAT(error.what(), HasSubstr("model.moe.router.type"));
    EXPECT_THAT(error.hint(), HasSubstr("--allow-change"));
  }
  EXPECT_EQ(read_file(tiny_.folder / "run/metrics.jsonl"), metrics);
}

TEST_F(Resume, AnotherMicroBatchSizeSeesTheSameSamples) {
  config_.model.moe.loss.load_balance = 0.0;  // the only loss that depends on it
  config_.model.dropout = 0.0;
  config_.train.precision = "fp64";
  train_at_once("whole");
  train_at_once("run");
  resume_after("run", 7, {}, [](config::Config& config) { config.train.micro_batch_size = 2; });
  const auto whole = tiny_.step_records("whole");
  const auto steps = tiny_.step_records("run");
  ASSERT_EQ(whole.size(), steps.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const auto loss = whole[i]["lm_loss"].get<double>();
    EXPECT_NEAR(steps[i]["lm_loss"].get<double>(), loss, 1e-9 * loss);
  }
}

TEST_F(Resume, AResumeThatFailsLeavesTheRunAsItWas) {
  train_at_once("run");
  const std::string own = read_file(tiny_.folder / "run/config.resolved.yaml");
  EXPECT_THROW(resume_after("run", 20, {.keys = {"model.hidden_size"}},
                            [](config::Config& config) { config.model.hidden_size = 64; }),
               DataError);
  EXPECT_EQ(read_file(tiny_.folder / "run/config.resolved.yaml"), own);
  EXPECT_NO_THROW(resume_after("run", 14));
}

TEST_F(Resume, AChangeThatWasAllowedNeedNotBeAllowedAgainWhenNothingWasSavedSince) {
  train_at_once("run");
  resume_after("run", 7, {.keys = {"optim.learning_rate"}},
               [](config::Config& config) { config.optim.learning_rate = 1e-3; });
  // Killed before step 14 was saved: the run's config has the new rate, the checkpoint the old one.
  EXPECT_NO_THROW(resume_after("run", 7));
  EXPECT_THAT(
      config::load(tiny_.folder / "run/config.resolved.yaml", {}).config.optim.learning_rate,
      ::testing::DoubleEq(1e-3));
}

TEST_F(Resume, OtherDataIsRefusedUnlessAskedFor) {
  const auto change = [this](config::Config& config) {
    config.data.path = (tiny_.folder / "other").string();
  };
  train_at_once("run");
  EXPECT_THROW(resume_after("run", 7, {}, change), DataError);
  EXPECT_THROW(resume_after("run", 7, {.keys = {"data.attend_across_documents"}}, change),
               DataError);
  EXPECT_NO_THROW(resume_after("run", 7, {.keys = {"data.path"}}, change));
  EXPECT_NO_THROW(resume_after("run", 7, {.keys = {"run.seed", "data.path"}},
                               [](config::Config& config) { config.run.seed = 8; }));
}

TEST_F(Resume, AFolderWithoutARunAndARunInUseAreRefused) {
  EXPECT_THROW((void)resume(config_, {}), UsageError);
  train_at_once("run");
  const RunFolder other = RunFolder::reopen(config_.run.dir);
  config_.model.vocab_size = kBytesVocab;
  EXPECT_THROW((void)resume(config_, {}), UsageError);
}

TEST_F(Resume, EarlyStopEndsTheRunAndStaysEndedUntilPatienceGrows) {
  config_.optim.learning_rate = 0.0;  // never better than the first evaluation
  config_.train.early_stop_patience = 2;
  train_at_once("run");
  EXPECT_EQ(tiny_.step_records().back()["step"].get<std::int64_t>(), 12);
  config_.model.vocab_size = kBytesVocab;
  EXPECT_EQ(resume(config_, {}).num_steps, 12);
  config_.train.early_stop_patience = 3;
  EXPECT_EQ(resume(config_, {}).num_steps, 16);
}

TEST_F(Resume, TheBestCheckpointIsKeptBesideTheNewest) {
  config_.optim.learning_rate = 0.0;
  config_.train.keep_best = true;
  config_.train.keep_last = 1;
  train_at_once("run");
  EXPECT_EQ(read_file(tiny_.folder / "run/checkpoints/BEST"), "step-000004\n");
  EXPECT_TRUE(fs::exists(tiny_.folder / "run/checkpoints/step-000004/manifest.json"));
  EXPECT_TRUE(fs::exists(last_checkpoint("run")));
  EXPECT_FALSE(fs::exists(tiny_.folder / "run/checkpoints/step-000014"));
}

}  // namespace
}  // namespace switchyard::train
