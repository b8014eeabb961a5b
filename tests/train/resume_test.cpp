// A run that is stopped and resumed against one that never stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/train/pretrain.h"
#include "switchyard/train/run_folder.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Resume : public ::testing::Test {
 protected:
  Resume() {
    config_.schedule.steps = config_.train.steps;  // a stopped run keeps the schedule
    config_.model.dropout = 0.1;
    config_.train.checkpoint_every = 7;
    config_.train.evaluate_every = 4;
    config_.train.keep_last = 10;
  }

  // Trains to `stop`, then resumes to the end.
  void train_in_two_parts(const std::string& run, std::int64_t stop,
                          const config::AllowedChanges& allowed = {},
                          const std::function<void(config::Config&)>& change = {}) const {
    config::Config config = config_;
    config.run.dir = (tiny_.folder / run).string();
    config.train.steps = stop;
    (void)pretrain(config);
    config.train.steps = config_.train.steps;
    config.model.vocab_size = kBytesVocab;  // as the resolved config has it
    if (change) change(config);
    (void)resume(config, allowed);
  }

  void train_at_once(const std::string& run) const {
    config::Config config = config_;
    config.run.dir = (tiny_.folder / run).string();
    (void)pretrain(config);
  }

  [[nodiscard]] fs::path last_checkpoint(const std::string& run) const {
    return tiny_.folder / (run + "/checkpoints/step-000020");
  }

  void expect_same_files(const std::string& a, const std::string& b) const {
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "training_state.json"}) {
      EXPECT_EQ(read_file(last_checkpoint(a) / name), read_file(last_checkpoint(b) / name)) << name;
    }
    const fs::path state = last_checkpoint(a) / "router_state.safetensors";
    if (fs::exists(state)) {
      EXPECT_EQ(read_file(state), read_file(last_checkpoint(b) / "router_state.safetensors"));
    }
  }

  void expect_same_losses(const std::string& a, const std::string& b) const {
    const auto first = tiny_.step_records(a);
    const auto second = tiny_.step_records(b);
    ASSERT_EQ(first.size(), second.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      for (const char* key : {"step", "tokens", "loss", "lm_loss", "grad_norm", "learning_rate",
                              "experts_per_token", "skipped_steps"}) {
        EXPECT_EQ(first[i][key], second[i][key]) << key << " of record " << i;
      }
    }
  }

  static constexpr std::int64_t kBytesVocab = 257;
  TinyRunFolder tiny_;
  config::Config& config_ = tiny_.config;
};

struct Case {
  const char* name;
  std::function<void(config::Config&)> set;
};

class ResumeIsBitExact : public Resume, public ::testing::WithParamInterface<Case> {};

TEST_P(ResumeIsBitExact, WhereverItStopped) {
  GetParam().set(config_);
  train_at_once("whole");
  for (const std::int64_t stop : {1, 7, 12, 19}) {
    SCOPED_TRACE("stopped after step " + std::to_string(stop));
    const std::string run = "stopped-" + std::to_string(stop);
    train_in_two_parts(run, stop);
    expect_same_losses("whole", run);
    expect_same_files("whole", run);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Runs, ResumeIsBitExact,
    ::testing::Values(Case{"fp32", [](config::Config&) {}},
                      Case{"bf16", [](config::Config& config) { config.train.precision = "bf16"; }},
                      Case{"fp64", [](config::Config& config) { config.train.precision = "fp64"; }},
                      Case{"two_micro_batches",
                           [](config::Config& c) { c.train.micro_batch_size = 4; }},
                      // There are about 380 windows: with 25 a step they are used up after 15.
                      Case{"across_epochs",
                           [](config::Config& config) {
                             config.train.global_batch_size = 25;
                             config.train.micro_batch_size = 25;
                           }},
                      Case{"router_warm_up",
                           [](config::Config& config) {
                             config.model.moe.router.p_warmup = {.from = 1.0, .steps = 15};
                           }},
                      Case{"router_with_state",
                           [](config::Config& config) {
                             config.model.moe.router.type = "attention_importance";
                             config.model.moe.router.k_max = 4;  // as the resolved config has it
                           }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(Resume, ARepeatedResumeOfAFinishedRunChangesNothing) {
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  const std::string before = read_file(last_checkpoint("run") / "model.safetensors");
  const PretrainResult result = resume(config_, {});
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
  train_at_once("run");
  const fs::path saved = tiny_.folder / "run/checkpoints/step-000016";
  fs::remove_all(last_checkpoint("run"));
  // What a signal during the evaluation after step 16 saves.
  format::Json state = format::parse_json(read_file(saved / "training_state.json"), "state");
  EXPECT_EQ(state["evaluated_step"], 16);
  state["evaluated_step"] = 12;
  write_file_atomically(saved / "training_state.json", state.dump());
  format::Json manifest = format::parse_json(read_file(saved / "manifest.json"), "manifest");
  manifest["files"]["training_state.json"] = {
      {"bytes", fs::file_size(saved / "training_state.json")},
      {"xxh3", xxh3_of_file(saved / "training_state.json")}};
  write_file_atomically(saved / "manifest.json", manifest.dump());
  config_.model.vocab_size = kBytesVocab;
  (void)resume(config_, {});
  std::vector<std::int64_t> evaluated;
  bool resumed = false;
  for (const format::Json& record : tiny_.records()) {
    const std::string event = record.value("event", "");
    resumed = resumed || event == "resume";
    if (resumed && event == "evaluation") evaluated.push_back(record["step"].get<std::int64_t>());
  }
  EXPECT_EQ(evaluated, (std::vector<std::int64_t>{16, 20}));
}

TEST_F(Resume, ChangesThatWouldMakeItAnotherRunAreRefusedAllAtOnceAndNothingIsTouched) {
  train_at_once("run");
  const std::string metrics = read_file(tiny_.folder / "run/metrics.jsonl");
  config_.model.vocab_size = kBytesVocab;
  config_.model.hidden_size = 64;
  config_.optim.learning_rate = 0.5;
  config_.model.moe.router.type = "top_k";
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

TEST_F(Resume, AllowedChangesGoOn) {
  train_in_two_parts("run", 10, {.keys = {"optim.learning_rate"}, .router = true},
                     [](config::Config& config) {
                       config.optim.learning_rate = 1e-3;
                       config.model.moe.router.type = "attention_importance";
                       config.model.moe.router.k_max = 4;
                       config.train.micro_batch_size = 4;
                       config.train.log_every = 5;
                     });
  const auto steps = tiny_.step_records();
  EXPECT_NEAR(steps.back()["learning_rate"].get<double>(), 1e-4, 1e-5);  // a tenth at the end
  EXPECT_TRUE(fs::exists(last_checkpoint("run") / "router_state.safetensors"));
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"), HasSubstr("their state starts afresh"));
}

TEST_F(Resume, OtherDataIsRefusedUnlessAskedFor) {
  tiny_.prepare_lines("other", 300);
  const auto change = [this](config::Config& config) {
    config.data.path = (tiny_.folder / "other").string();
  };
  EXPECT_THROW(train_in_two_parts("refused", 10, {}, change), DataError);
  EXPECT_NO_THROW(train_in_two_parts("asked", 10, {.keys = {"data.path"}}, change));
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
