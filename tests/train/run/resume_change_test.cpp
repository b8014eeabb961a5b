// A run that goes on with other settings, from another step, or after weights that broke.
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/train/run_folder.h"
#include "train/run/resume_fixture.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(Resume, AllowedChangesGoOn) {
  train_at_once("run");
  resume_after("run", 7, {.keys = {"optim.learning_rate"}, .router = true},
               [](config::Config& config) {
                 config.optim.learning_rate = 1e-3;
                 config.model.moe.router =
                     config::RouterConfig(config::AttentionImportanceOptions{.k_max = 4});
                 config.train.micro_batch_size = 4;
                 config.train.log_every = 5;
               });
  const auto steps = tiny_.step_records();
  EXPECT_NEAR(steps.back()["learning_rate"].get<double>(), 1e-4, 1e-5);  // a tenth at the end
  EXPECT_TRUE(fs::exists(last_checkpoint("run") / "router_state.safetensors"));
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"), HasSubstr("their state starts afresh"));
}

TEST_F(Resume, AnEditOfTheRunsConfigIsAChangeAsAnyOther) {
  train_at_once("run");
  const fs::path file = tiny_.folder / "run/config.resolved.yaml";
  const std::string written = read_file(file);
  const auto edit = [&](const std::string& from, const std::string& to) {
    std::string text = read_file(file);
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    write_file_atomically(file, text.replace(at, from.size(), to));
  };
  const auto resumed = [&](const config::AllowedChanges& allowed) {
    (void)resume(config::load(file, {}).config, allowed);
  };
  edit("learning_rate: 0.01", "learning_rate: 0.02");
  edit("log_every: 1", "log_every: 2");
  try {
    resumed({});
    FAIL() << "went on with another learning rate";
  } catch (const config::ConfigError& error) {
    EXPECT_THAT(error.problems(), ::testing::ElementsAre(HasSubstr(
                                      "optim.learning_rate: the run was started with 0.01, now it "
                                      "is 0.02")));
    EXPECT_THAT(error.hint(), HasSubstr("config.resolved.yaml was edited: put back"));
  }
  EXPECT_NO_THROW(resumed({.keys = {"optim.learning_rate"}}));
  write_file_atomically(file, written);
  edit("log_every: 1", "log_every: 2");  // free to change, wherever it is changed
  EXPECT_NO_THROW(resumed({}));
}

TEST_F(Resume, WhatAResumeWasAllowedThatSavedNothingStaysAllowed) {
  train_at_once("run");
  const fs::path file = tiny_.folder / "run/config.resolved.yaml";
  config::Config config = config::load(file, {}).config;
  config.optim.learning_rate = 0.02;
  RunFolder::reopen(tiny_.folder / "run").write_config(config::to_yaml(config));
  EXPECT_NO_THROW((void)resume(config, {}));
}

TEST_F(Resume, OtherDataWhereTheSpellingLeadsIsRefusedAndTheRunsOwnIsNamed) {
  const fs::path working_folder = fs::current_path();
  fs::current_path(tiny_.folder.path());
  config_.data.path = "data";
  train_at_once("run");
  fs::create_directory(tiny_.folder / "elsewhere");
  fs::copy(tiny_.folder / "other", tiny_.folder / "elsewhere/data");
  fs::current_path(tiny_.folder / "elsewhere");
  try {
    resume_after("run", 7);
    ADD_FAILURE() << "went on with other data";
  } catch (const DataError& error) {
    EXPECT_THAT(error.hint(), HasSubstr("data.path=" + (tiny_.folder / "data").string()));
  }
  fs::current_path(working_folder);
}

TEST_F(Resume, AChangedRouterStartsAtTheStepItIsStartedAt) {
  train_at_once("run");
  resume_after("run", 14, {.router = true}, [](config::Config& config) {
    config.model.moe.router = config::RouterConfig(
        config::TopPOptions{.p = 0.4, .p_warmup = config::PWarmup{.from = 1.0, .steps = 10}});
  });
  for (const format::Json& record : tiny_.step_records()) {
    if (record["step"] <= 14) continue;
    EXPECT_LT(record["experts_per_token"].get<double>(), 4.0) << record["step"];  // not all
  }
}

TEST_F(Resume, OfAChangedRouterTheStateThatMeansTheSameIsKept) {
  config_.model.moe.router =
      config::RouterConfig(config::AttentionImportanceOptions{.k_mean = 2.0, .k_max = 4});
  train_at_once("run");
  const auto mean_after = [this](const config::AttentionImportanceOptions& options) {
    resume_after("run", 14, {.router = true}, [&](config::Config& config) {
      config.model.moe.router = config::RouterConfig(options);
      config.train.steps = 14;
      config.train.checkpoint_every = 1;
    });
    return read_file(tiny_.folder / "run/log.txt");
  };
  EXPECT_THAT(mean_after({.k_mean = 1.5, .k_max = 4}), HasSubstr("state that means what it meant"));
  EXPECT_THAT(mean_after({.importance = "attention_peak", .k_mean = 2.0, .k_max = 4}),
              HasSubstr("their state starts afresh"));
}

TEST_F(Resume, FromAnEarlierStepSetsTheLaterOnesAsideAndEndsTheSame) {
  config_.train.keep_best = true;
  train_at_once("whole");
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  EXPECT_THROW((void)resume(config_, {}, 9), UsageError);
  (void)resume(config_, {}, 7);
  EXPECT_TRUE(fs::exists(tiny_.folder / "run/checkpoints/step-000014.rolled-back"));
  EXPECT_TRUE(fs::exists(last_checkpoint("run").string() + ".rolled-back"));
  const std::string log = read_file(tiny_.folder / "run/log.txt");
  EXPECT_THAT(log, HasSubstr("; 13 later steps are made again"));
  EXPECT_THAT(log, Not(HasSubstr("not saved")));
  expect_same_losses("whole", "run");
  expect_same_files("whole", "run");
  for (const char* pointer : {"LATEST", "BEST"}) {
    EXPECT_EQ(read_file(tiny_.folder / "run/checkpoints" / pointer),
              read_file(tiny_.folder / "whole/checkpoints" / pointer));
  }
}

// A run that goes on at a learning rate that ruins its weights with the first update.
class RuinedResume : public Resume {
 protected:
  const config::AllowedChanges allowed{.keys = {"optim.learning_rate", "schedule.steps"}};

  // Returns the run's checkpoints.
  fs::path ruin(std::int64_t checkpoint_every) {
    train_at_once("run");
    config_.model.vocab_size = kBytesVocab;
    config_.train.steps = 40;
    config_.train.keep_last = 1;
    config_.train.max_skipped_steps = 3;
    config::Config broken = config_;
    broken.optim.learning_rate = 1e30;
    broken.schedule.steps = 1000;
    broken.train.checkpoint_every = checkpoint_every;
    EXPECT_THROW((void)resume(broken, allowed), NonFiniteError);
    return tiny_.folder / "run/checkpoints";
  }
};

TEST_F(RuinedResume, WeightsThatMakeNaNAreNotGoneOnFrom) {
  const fs::path checkpoints = ruin(/*checkpoint_every=*/50);
  ASSERT_EQ(checkpoint::unsound_steps_in(checkpoints).size(), 1U);
  EXPECT_EQ(read_file(checkpoints / "LATEST"), "step-000020\n");
  // The hint's lower rate is enough.
  EXPECT_EQ(resume(config_, allowed).num_steps, 40);
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"), HasSubstr("resuming"));
  EXPECT_TRUE(tiny_.step_records().back()["loss"].is_number());
}

// The update that ruins them leaves weights that are finite: only the next loss shows it.
TEST_F(RuinedResume, FiniteWeightsThatMakeNaNDisplaceNoCheckpointThatWorks) {
  config_.train.checkpoint_every = 1;
  const fs::path checkpoints = ruin(config_.train.checkpoint_every);
  EXPECT_EQ(read_file(checkpoints / "LATEST"), "step-000021\n");  // finite, and of no use
  ASSERT_TRUE(fs::exists(checkpoints / "step-000020/manifest.json"));
  EXPECT_EQ(resume(config_, allowed, 20).num_steps, 40);
  EXPECT_TRUE(tiny_.step_records().back()["loss"].is_number());
}

TEST_F(Resume, MoreStepsThanAScheduleThatEndsAtZeroAreWarnedOf) {
  config_.schedule.final_ratio = 0.0;
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  config_.train.steps = 22;
  (void)resume(config_, {});
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"),
              HasSubstr("from step 21 on the learning rate is 0"));
}

TEST_F(Resume, FewerStepsThanWereMadeLeaveTheConfigAsItWas) {
  train_at_once("run");
  const std::string own = read_file(tiny_.folder / "run/config.resolved.yaml");
  config_.model.vocab_size = kBytesVocab;
  config_.train.steps = 10;
  EXPECT_EQ(resume(config_, {}).num_steps, 20);
  EXPECT_EQ(read_file(tiny_.folder / "run/config.resolved.yaml"), own);
}

TEST_F(Resume, AChangeOfWhatAnEvaluationMeasuresLeavesNoBestToBeat) {
  config_.train.keep_best = true;
  train_at_once("run");
  const std::string not_comparable = "evaluations are not comparable";
  resume_after("run", 14);
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"), Not(HasSubstr(not_comparable)));
  resume_after("run", 7, {.keys = {"data.attend_across_documents"}},
               [](config::Config& config) { config.data.attend_across_documents = false; });
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"),
              ::testing::AllOf(HasSubstr(not_comparable), Not(HasSubstr("is gone"))));
}

TEST_F(Resume, ARunThatWasStoppedEarlyStaysSoWithoutItsBest) {
  config_.optim.learning_rate = 0.0;
  config_.train.keep_best = true;
  config_.train.early_stop_patience = 2;
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  fs::remove_all(tiny_.folder / "run/checkpoints/step-000004");
  EXPECT_EQ(resume(config_, {}).num_steps, 12);
}

TEST_F(Resume, ABestThatCannotBeLookedAtEndsNoResume) {
  train_at_once("run");
  fs::create_symlink("BEST", tiny_.folder / "run/checkpoints/BEST");  // a loop
  EXPECT_NO_THROW(resume_after("run", 14));
}

// Nothing beats the first evaluation, neither in loss nor by its checkpoint, which is not there.
TEST_F(Resume, TheBestThatWasNeverKeptIsNotToBeBeaten) {
  config_.optim.learning_rate = 0.0;
  train_at_once("run");
  resume_after("run", 14, {}, [](config::Config& config) { config.train.keep_best = true; });
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"),
              HasSubstr("of step 4, is gone: the best starts afresh"));
  EXPECT_EQ(read_file(tiny_.folder / "run/checkpoints/BEST"), "step-000016\n");
}

TEST_F(Resume, BestIsPointedAtTheBestThatTheRunKnows) {
  config_.optim.learning_rate = 0.0;
  config_.train.keep_best = true;
  train_at_once("run");
  const fs::path best = tiny_.folder / "run/checkpoints/BEST";
  ASSERT_EQ(read_file(best), "step-000004\n");
  write_file_atomically(best, "step-000007\n");
  resume_after("run", 14);
  EXPECT_EQ(read_file(best), "step-000004\n");
}

TEST_F(Resume, SamplesOfStepsThatAreMadeAgainAreSetAside) {
  config_.train.sample_every = 5;
  train_at_once("run");
  config_.model.vocab_size = kBytesVocab;
  const fs::path samples = tiny_.folder / "run/samples";
  write_file_atomically(samples / "step-000012.txt.mine", "notes of somebody");
  const std::string first = read_file(samples / "step-000010.txt");
  config_.train.steps = 10;
  config_.train.sample_every = 0;
  (void)resume(config_, {}, 7);
  EXPECT_EQ(read_file(samples / "step-000010.txt.rolled-back"), first);
  EXPECT_TRUE(fs::exists(samples / "step-000020.txt.rolled-back"));
  EXPECT_FALSE(fs::exists(samples / "step-000020.txt"));
  EXPECT_TRUE(fs::exists(samples / "step-000005.txt")) << "of a step that stays";
  EXPECT_TRUE(fs::exists(samples / "step-000012.txt.mine"));
  ASSERT_TRUE(fs::exists(samples / "step-000010.txt")) << "the end of the shorter run";
  (void)resume(config_, {}, 7);
  EXPECT_TRUE(fs::exists(samples / "step-000010.txt.rolled-back-2"));
  EXPECT_EQ(read_file(samples / "step-000010.txt.rolled-back"), first);
}

// What moved them before must not go on moving them: moments outlast their gradients.
TEST_F(Resume, RoutersThatAreFrozenOnTheWayStayWhereTheyAre) {
  train_at_once("run");
  resume_after("run", 14, {.keys = {"train.freeze_router"}},
               [](config::Config& config) { config.train.freeze_router = true; });
  const auto router_after = [&](const char* step) {
    const auto saved = checkpoint::Checkpoint::open(tiny_.folder / "run/checkpoints" / step);
    return saved.weights().copies().at("model.layers.1.moe.router.weight");
  };
  EXPECT_TRUE(at::equal(router_after("step-000020"), router_after("step-000014")));
  EXPECT_FALSE(at::equal(router_after("step-000014"), router_after("step-000007")));
}

}  // namespace
}  // namespace switchyard::train
