// Settings that fine-tuning has no use for, and those of which another one takes the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "glue/fine_tuned.h"
#include "glue/finetune_fixture.h"
#include "glue/start.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using FinetuneSaid = Finetune;

TEST_F(FinetuneSaid, WhatNothingReadsIsRefused) {
  pretrain();
  for (const std::string setting :
       {"train.evaluate_tokens=100", "train.sample_every=5", "train.sample_prompt=x",
        "train.sample_tokens=5", "data.mask_rate=0.3", "data.mask_whole_words=true",
        "data.attend_across_documents=false", "parallel.exchange_chunks=2"}) {
    options_.overrides = {setting};
    options_.config_file.clear();
    const std::string key = setting.substr(0, setting.find('='));
    EXPECT_THAT(problem<UsageError>(),
                AllOf(HasSubstr("command line: " + key + ": finetune has no use for it"),
                      HasSubstr("leave it out")));
  }
  options_.overrides.clear();
  write("settings.yaml", "train: {evaluate_tokens: 100}\n");
  options_.config_file = folder_ / "settings.yaml";
  EXPECT_THAT(problem<UsageError>(), HasSubstr("settings.yaml:1: train.evaluate_tokens"));
}

TEST_F(FinetuneSaid, AFileOfPretrainingMayHoldIt) {
  write("config.yaml",
        "train: {evaluate_tokens: 100, sample_every: 7}\nparallel: {exchange_chunks: 1}\n"
        "data: {mask_rate: 0.3}\n"
        "model: {type: encoder, hidden_size: 16, num_layers: 1, num_heads: 2, ffn_size: 16}\n");
  options_.from.clear();
  options_.config_file = folder_ / "config.yaml";
  options_.tokenizer = "bytes";
  options_.overrides = {"finetune.epochs=1"};
  EXPECT_EQ(problem<UsageError>(), "nothing");
}

TEST_F(FinetuneSaid, ColumnsAndLabelsAreOfATaskOfOnesOwn) {
  pretrain();
  for (const std::string setting :
       {"finetune.text_column=a", "finetune.pair_column=b", "finetune.label_column=c",
        "finetune.labels=no,yes", "finetune.regression=true"}) {
    options_.overrides = {setting};
    EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr(setting.substr(0, setting.find('='))),
                                             HasSubstr("only --task custom has a use for it")));
  }
  options_.tasks.clear();
  options_.overrides = {"finetune.labels=no,yes", "finetune.regression=true"};
  EXPECT_THAT(problem<UsageError>(), HasSubstr("not together with finetune.regression"));
}

TEST_F(FinetuneSaid, ARateTakesThePlaceOfThoseThatAFileTries) {
  pretrain();
  write("settings.yaml", "finetune:\n  learning_rates: [1e-3, 1e-2]\n");
  options_.config_file = folder_ / "settings.yaml";
  options_.overrides = {"finetune.epochs=1"};
  EXPECT_EQ(config_of(options_, 1).finetune.learning_rates.size(), 2U);
  options_.overrides = {"finetune.epochs=1", "optim.learning_rate=3e-4"};
  const config::Config config = config_of(options_, 1);
  EXPECT_TRUE(config.finetune.learning_rates.empty());
  EXPECT_EQ(config.optim.learning_rate, 3e-4);
  // And the other way round.
  write("settings.yaml", "optim: {learning_rate: 1e-3}\n");
  options_.overrides = {"finetune.learning_rates=[1e-4, 1e-5]"};
  EXPECT_EQ(config_of(options_, 1).finetune.learning_rates.size(), 2U);
}

TEST_F(FinetuneSaid, OneRateAndThoseToTryInOnePlaceAreRefused) {
  pretrain();
  options_.overrides = {"optim.learning_rate=3e-4", "finetune.learning_rates=[1e-4]"};
  EXPECT_THAT(problem<UsageError>(),
              HasSubstr("command line: optim.learning_rate: not together with "
                        "finetune.learning_rates"));
  write("settings.yaml", "optim: {learning_rate: 1e-3}\nfinetune: {learning_rates: [1e-4]}\n");
  options_.config_file = folder_ / "settings.yaml";
  options_.overrides.clear();
  EXPECT_THAT(problem<UsageError>(), HasSubstr("settings.yaml:1: optim.learning_rate"));
}

// A baseline is trained with the settings of the grid, as if they had been said.
TEST_F(FinetuneSaid, ABaselineTriesTheRatesThatTheGridTries) {
  pretrain();
  options_.baseline = options_.from;
  options_.overrides = {"finetune.epochs=1", "finetune.learning_rates=[1e-3, 1e-2]",
                        "schedule.type=warmup_stable_decay"};
  EXPECT_EQ(problem<UsageError>(), "nothing");
  EXPECT_TRUE(fs::exists(folder_ / "out/baseline/sst2/lr-0.001/seed-7"));
}

TEST_F(FinetuneSaid, ARouterThatIsFrozenWhereItBeginsAfreshIsWarnedOf) {
  pretrain();
  options_.overrides = {"finetune.epochs=1", "finetune.max_rows=8", "train.freeze_router=true"};
  const auto told = [&](const std::string& output) {
    options_.output = folder_ / output;
    ::testing::internal::CaptureStderr();
    (void)finetune(options_);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(told("same"), ::testing::Not(HasSubstr("begins afresh")));
  options_.overrides.emplace_back("model.moe.router.target_k=1.5");
  EXPECT_THAT(told("target"), AllOf(HasSubstr("warning: the router of layer 1: other options"),
                                    HasSubstr("it stays there")));
}

// A run that still trains removes its older checkpoints.
TEST_F(FinetuneSaid, WhatItStartsFromNeedNotStayWhereItWas) {
  pretrain();
  options_.num_seeds = 2;
  options_.overrides = {"finetune.epochs=1", "finetune.max_rows=8"};
  const Start start = open_start(options_, 1);
  fs::remove_all(folder_ / "run");
  ASSERT_TRUE(start.model);
  const auto classifier = make_classifier(start.config, *options_.tasks.front());
  EXPECT_NO_THROW(load_trunk(*classifier, start.config.model, *start.model));
}

}  // namespace
}  // namespace switchyard::glue
