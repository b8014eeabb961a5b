// What fine-tuning can be asked for: settings, learning rates, other models, tasks of one's own.
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "glue/finetune_fixture.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/glue/finetune.h"
#include "switchyard/glue/predict.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using FinetuneSettings = Finetune;

TEST_F(FinetuneSettings, FewerRowsThanABatchAreATaskAsWell) {
  pretrain();
  options_.overrides = {"train.global_batch_size=64", "finetune.epochs=2", "finetune.max_rows=5"};
  const std::vector<TaskResult> results = finetune(options_);
  EXPECT_EQ(results[0].conditions.num_train_rows, 5);
  EXPECT_EQ(results[0].seeds[0].num_steps, 2) << "a step of five rows an epoch";
}

TEST_F(FinetuneSettings, AModelOfMoreThanTheMachineHoldsIsRefusedBeforeItIsMade) {
  write("config.yaml",
        "model: {type: encoder, hidden_size: 1048576, num_layers: 1, num_heads: 2, ffn_size: "
        "1048576}\n");
  options_.from.clear();
  options_.config_file = folder_ / "config.yaml";
  options_.tokenizer = "bytes";
  EXPECT_THAT(problem<OutOfMemoryError>(), HasSubstr("and this machine has"));
}

TEST_F(FinetuneSettings, TheOnlyStepAndTheLastOneMoveWeights) {
  pretrain();
  options_.overrides = {"train.global_batch_size=64", "finetune.epochs=1"};
  EXPECT_EQ(finetune(options_)[0].seeds[0].num_steps, 1);
  const auto norm = [&](const char* run) {
    return checkpoint::Checkpoint::open(folder_ / run).weights().copies().at("model.norm.weight");
  };
  EXPECT_GT(norm("out/sst2/seed-7").sub(norm("run")).abs().max().item<double>(), 1e-5);
}

TEST_F(FinetuneSettings, ALastBatchOfOneRowIsABatch) {
  pretrain();
  options_.overrides = {"train.global_batch_size=13", "finetune.epochs=1"};  // 40 = 3 * 13 + 1
  EXPECT_EQ(finetune(options_)[0].seeds[0].num_steps, 4);
}

TEST_F(FinetuneSettings, AnEarlyStopLeavesStepsOutAndTheResultSaysHowManyWereMade) {
  pretrain();
  options_.overrides = {"finetune.epochs=30", "optim.learning_rate=0",
                        "train.early_stop_patience=2", "train.global_batch_size=8"};
  const SeedResult seed = finetune(options_)[0].seeds[0];
  EXPECT_EQ(seed.best_step, 5);
  EXPECT_EQ(seed.num_steps, 15) << "the first epoch and two without improvement";
  EXPECT_EQ(json("out/sst2/seed-7/eval_results.json")["steps"], 15);
  EXPECT_THAT(read_file(folder_ / "out/log.txt"), Not(HasSubstr("best -0.")));
}

TEST_F(FinetuneSettings, DevChoosesALearningRateAndAllSeedsTakeIt) {
  pretrain();
  options_.num_seeds = 2;
  std::erase(options_.overrides, "optim.learning_rate=1e-2");
  options_.overrides.emplace_back("finetune.learning_rates=[1e-7, 1e-2]");
  const TaskResult result = finetune(options_)[0];
  EXPECT_EQ(result.learning_rate, 1e-2);
  ASSERT_EQ(result.tried_rates.size(), 2U);
  EXPECT_EQ(result.tried_rates[0].first, 1e-7);
  EXPECT_LT(result.tried_rates[0].second, result.tried_rates[1].second);
  for (const SeedResult& seed : result.seeds) EXPECT_EQ(seed.learning_rate, 1e-2);
  EXPECT_TRUE(fs::exists(folder_ / "out/sst2/lr-1e-07/seed-7/eval_results.json"));
  EXPECT_FALSE(fs::exists(folder_ / "out/sst2/lr-1e-07/seed-8")) << "the first seed alone tries";
  EXPECT_TRUE(fs::exists(folder_ / "out/sst2/lr-0.01/seed-8/eval_results.json"));
  EXPECT_EQ(json("out/results.json")[0]["learning_rate"], 1e-2);
  EXPECT_THAT(read_file(folder_ / "out/results.md"), HasSubstr("**0.01 "));
  // Again: what is done is read.
  const auto time = fs::last_write_time(folder_ / "out/sst2/lr-1e-07/seed-7/metrics.jsonl");
  (void)finetune(options_);
  EXPECT_EQ(fs::last_write_time(folder_ / "out/sst2/lr-1e-07/seed-7/metrics.jsonl"), time);
}

TEST_F(FinetuneSettings, RatesThatAreNearlyTheSameHaveFoldersOfTheirOwn) {
  pretrain();
  std::erase(options_.overrides, "optim.learning_rate=1e-2");
  options_.overrides.emplace_back("finetune.learning_rates=[1e-3, 1.0000001e-3]");
  EXPECT_EQ(finetune(options_)[0].tried_rates.size(), 2U);
  EXPECT_TRUE(fs::exists(folder_ / "out/sst2/lr-0.001/seed-7/eval_results.json"));
  EXPECT_TRUE(fs::exists(folder_ / "out/sst2/lr-0.0010000001/seed-7/eval_results.json"));
  options_.overrides.back() = "finetune.learning_rates=[1e-3, 2e-3, 0.001]";
  EXPECT_THAT(problem<UsageError>(), HasSubstr("finetune.learning_rates: 0.001 is there twice"));
}

// Met at the end, it would cost the runs before.
TEST_F(FinetuneSettings, WhatIsInTheWayOfAFileOrAFolderIsRefusedBeforeAnythingIsTrained) {
  pretrain();
  for (const char* folder : {"results.md", "results.json", "report.html"}) {
    fs::create_directories(folder_ / "out" / folder);
    EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr(folder), HasSubstr("is a folder")))
        << folder;
    fs::remove(folder_ / "out" / folder);
  }
  for (const char* file : {"sst2", "submission", "baseline"}) {
    write(std::string("out/") + file, "mine");
    EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr(file), HasSubstr("is a file"))) << file;
    EXPECT_EQ(read_file(folder_ / "out" / file), "mine");
    fs::remove(folder_ / "out" / file);
  }
}

TEST_F(FinetuneSettings, WhereEveryLearningRateDivergesThatIsAnErrorAndOtherTasksGoOn) {
  pretrain();
  options_.tasks = parse_tasks("sst2,stsb");
  write("glue/STS-B/train.tsv", "index\tsentence1\tsentence2\tscore\n0\ta man\ta\t1.0\n");
  options_.overrides = {"finetune.learning_rates=[1e30, 2e30]", "optim.clip_norm=0",
                        "train.max_skipped_steps=1", "train.global_batch_size=8",
                        "finetune.epochs=1"};
  const std::vector<TaskResult> results = finetune(options_);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_TRUE(results[0].lacks_a_rate());
  EXPECT_TRUE(results[0].seeds.empty());
  EXPECT_EQ(results[1].tried_rates.size(), 2U) << "was tried as well";
  EXPECT_THAT(read_file(folder_ / "out/log.txt"),
              AllOf(HasSubstr("error: SST-2: no learning rate to train with: seed 7 diverged with "
                              "all of 1e+30, 2e+30"),
                    HasSubstr("finetune.learning_rates"), Not(HasSubstr("SST-2: learning rate"))));
  EXPECT_THAT(
      read_file(folder_ / "out/results.md"),
      HasSubstr("- SST-2: every learning rate that was tried (1e+30, 2e+30) came to nothing"));
  const format::Json result = json("out/results.json")[0];
  EXPECT_TRUE(result["learning_rate"].is_null());
  EXPECT_TRUE(result["seeds"].empty());
  // A smaller one, in the same folder.
  options_.tasks = parse_tasks("sst2");
  options_.overrides[0] = "finetune.learning_rates=[1e30, 1e-3]";
  EXPECT_EQ(finetune(options_)[0].learning_rate, 1e-3);
}

TEST_F(FinetuneSettings, TasksThatAreTooShortForTheScheduleAreNamedBeforeAnythingIsTrained) {
  pretrain();
  options_.tasks = parse_tasks("sst2,stsb");
  options_.overrides = {"train.global_batch_size=8", "finetune.epochs=2",
                        "schedule.type=warmup_stable_decay", "schedule.warmup_steps=3",
                        "schedule.decay_steps=4"};
  EXPECT_THAT(problem<UsageError>(),
              AllOf(HasSubstr("STS-B: 10 rows in batches of 8, 2 times over, make 4 steps"),
                    HasSubstr("schedule.warmup_steps (3) plus decay_steps (4)"),
                    HasSubstr("finetune.epochs"), Not(HasSubstr("SST-2"))));
  options_.overrides = {"train.global_batch_size=8", "finetune.epochs=2",
                        "schedule.warmup_steps=9"};
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("STS-B"), Not(HasSubstr("SST-2"))));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  // Left out, they are a share of each task's steps.
  options_.overrides = {"train.global_batch_size=8", "finetune.epochs=1",
                        "schedule.type=warmup_stable_decay"};
  EXPECT_EQ(problem<UsageError>(), "nothing");
}

TEST_F(FinetuneSettings, SizesAreTheCheckpointsAndAnotherOneIsRefusedAtOnce) {
  pretrain();
  for (const char* key :
       {"model.hidden_size=64", "model.moe.num_experts=8", "model.num_layers=3"}) {
    options_.overrides = {key};
    const std::string name = std::string(key).substr(0, std::string(key).find('='));
    EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr(name), HasSubstr("was trained with")));
  }
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(FinetuneSettings, AReportIsCalledAsItsFolderHoweverThatIsSpelled) {
  pretrain();
  options_.overrides = {"finetune.epochs=1", "finetune.max_rows=8"};
  options_.output = folder_.path().string() + "/out/";
  (void)finetune(options_);
  EXPECT_THAT(read_file(folder_ / "out/report.html"), HasSubstr("<title>out - Switchyard</title>"));
}

TEST_F(FinetuneSettings, OtherSettingsOfALaterTaskAreRefusedBeforeAnEarlierOneIsTrained) {
  pretrain();
  options_.tasks = parse_tasks("stsb");
  options_.overrides = {"finetune.epochs=1"};
  (void)finetune(options_);
  options_.tasks = parse_tasks("sst2,stsb");
  options_.overrides.emplace_back("optim.weight_decay=0.5");
  EXPECT_THAT(problem<UsageError>(),
              AllOf(HasSubstr("stsb/seed-7"), HasSubstr("optim.weight_decay")));
  EXPECT_FALSE(fs::exists(folder_ / "out/sst2"));
}

TEST_F(FinetuneSettings, AFileOfSettingsHasAWarmupOfItsOwn) {
  pretrain();
  write("settings.yaml", "schedule:\n  warmup_steps: 3\n");
  options_.config_file = folder_ / "settings.yaml";
  (void)finetune(options_);
  EXPECT_THAT(read_file(folder_ / "out/sst2/seed-7/config.resolved.yaml"),
              HasSubstr("warmup_steps: 3\n"));
}

TEST_F(FinetuneSettings, LowerLayersMoveLessAndAFrozenRouterDoesNot) {
  pretrain();
  options_.overrides = {"finetune.epochs=1",
                        "optim.learning_rate=1e-3",
                        "optim.layer_decay=0.01",
                        "train.freeze_router=true",
                        "optim.weight_decay=0",
                        "model.dropout=0",
                        "model.moe.loss.load_balance=0.5"};
  (void)finetune(options_);
  const auto weights = [&](const std::string& run) {
    return checkpoint::Checkpoint::open(folder_ / run).weights().copies();
  };
  const auto before = weights("run");
  const auto after = weights("out/sst2/seed-7");
  const auto moved = [&](const std::string& name) {
    return after.at(name).sub(before.at(name)).abs().max().item<double>();
  };
  EXPECT_EQ(moved("model.layers.1.moe.router.weight"), 0.0);
  const double norm = moved("model.norm.weight");
  const double upper = moved("model.layers.1.self_attn.v_proj.weight");
  const double lower = moved("model.layers.0.self_attn.v_proj.weight");
  const double embedding = moved("model.embed_tokens.weight");
  // Adam's first steps are about the learning rate, whatever the gradient.
  EXPECT_GT(norm, 10 * upper);
  EXPECT_GT(upper, 10 * lower);
  EXPECT_GT(lower, 10 * embedding);
  EXPECT_GT(embedding, 0.0);
}

TEST_F(FinetuneSettings, ADecoderIsReadAtItsLastToken) {
  pretrain("decoder");
  const TaskResult result = finetune(options_)[0];
  EXPECT_GT(result.seeds[0].dev[0].metrics.at("accuracy"), 0.9);
  EXPECT_THAT(read_file(folder_ / "out/sst2/seed-7/config.resolved.yaml"),
              HasSubstr("pooling: last"));
  write("new.tsv", "sentence\nso good 99\nso poor 98\n");
  EXPECT_EQ(
      predict_file({.run = folder_ / "out/sst2/seed-7", .input = (folder_ / "new.tsv").string()}),
      "index\tprediction\n0\t1\n1\t0\n");
  options_.output = folder_ / "first";
  options_.overrides.emplace_back("finetune.pooling=first");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("has seen no other"));
}

TEST_F(FinetuneSettings, PairPoolingIsTrainedKeptAndPredictedWith) {
  pretrain();
  const auto pairs = [](int count) {
    const std::vector<std::string> words = {"bag", "wet", "fun"};
    std::string text = "text\tother\tverdict\n";
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      const std::string& other = words[i / 3 % 2 == 0 ? i % 3 : (i + 1) % 3];
      text +=
          words[i % 3] + "\t" + other + "\t" + (other == words[i % 3] ? "same" : "other") + "\n";
    }
    return text;
  };
  write("own/train.tsv", pairs(60));
  write("own/dev.tsv", pairs(12));
  options_.tasks.clear();
  options_.data = folder_ / "own";
  options_.overrides.insert(
      options_.overrides.end(),
      {"finetune.text_column=text", "finetune.pair_column=other", "finetune.label_column=verdict",
       "finetune.epochs=20", "train.early_stop_patience=0"});
  EXPECT_GT(finetune(options_)[0].seeds[0].dev[0].metrics.at("accuracy"), 0.9);
  const fs::path run = folder_ / "out/custom/seed-7";
  const auto weights = checkpoint::Checkpoint::open(run).weights().copies();
  EXPECT_EQ(weights.at("classifier.dense.weight").size(1), 4 * 32);
  write("new.tsv", pairs(6));
  EXPECT_THAT(predict_file({.run = run, .input = (folder_ / "new.tsv").string()}),
              AllOf(HasSubstr("\tsame\n"), HasSubstr("\tother\n")));
}

TEST_F(FinetuneSettings, ATaskOfOnesOwnIsLearnedFromNamedColumns) {
  pretrain();
  std::string train = "verdict\tnote\n";
  std::string dev;
  for (int i = 0; i < 30; ++i) {
    const std::string word = i % 3 == 0 ? "good" : i % 3 == 1 ? "poor" : "odd";
    train += word + "\tso " + word + " " + std::to_string(i) + "\n";
    dev += "{\"note\": \"so " + word + " " + std::to_string(i + 50) + "\", \"verdict\": \"" + word +
           "\"}\n";
  }
  write("own/train.tsv", train);
  write("own/dev.jsonl", dev);
  write("own/test.tsv", "note\tindex\nso odd 7\tx\nso good 8\ty\n");
  options_.tasks.clear();
  options_.data = folder_ / "own";
  options_.submission = true;
  options_.overrides.insert(
      options_.overrides.end(),
      {"finetune.text_column=note", "finetune.label_column=verdict", "finetune.epochs=40",
       "optim.learning_rate=3e-3", "train.early_stop_patience=0"});
  const TaskResult result = finetune(options_)[0];
  EXPECT_GT(result.seeds[0].dev[0].metrics.at("accuracy"), 0.9);
  EXPECT_EQ(result.task.labels, (std::vector<std::string>{"good", "odd", "poor"}));
  EXPECT_EQ(read_file(folder_ / "out/submission/custom.tsv"),
            "index\tprediction\nx\todd\ny\tgood\n");
  write("new.jsonl", "{\"note\": \"so poor 3\", \"index\": 5}\n");
  EXPECT_EQ(predict_file(
                {.run = folder_ / "out/custom/seed-7", .input = (folder_ / "new.jsonl").string()}),
            "index\tprediction\n5\tpoor\n");
  write("own/dev.tsv", "verdict\tnote\ngood\tso good\n");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("remove one of them"));
  fs::remove(folder_ / "own/dev.tsv");
  fs::remove(folder_ / "own/dev.jsonl");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("neither dev.tsv nor dev.jsonl"));
}

TEST_F(FinetuneSettings, AFileOfSettingsIsBetweenTheCheckpointAndTheCommandLine) {
  pretrain();
  write("settings.yaml",
        "finetune: {epochs: 2, max_length: 20}\noptim: {learning_rate: 0.004, eps: 1e-7}\n");
  options_.config_file = folder_ / "settings.yaml";
  options_.overrides = {"finetune.epochs=1"};
  (void)finetune(options_);
  const config::Config config =
      config::load(folder_ / "out/sst2/seed-7/config.resolved.yaml", {}).config;
  EXPECT_EQ(config.finetune.epochs, 1.0) << "the command line's";
  EXPECT_EQ(config.optim.learning_rate, 0.004) << "the file's, over finetune's own";
  EXPECT_EQ(config.finetune.max_length, 20);
  EXPECT_EQ(config.optim.weight_decay, 0.01) << "finetune's own, over the checkpoint's";
  EXPECT_EQ(config.model.hidden_size, 32) << "the checkpoint's";
  write("settings.yaml", "train: {steps: 7}\n");
  EXPECT_THAT(problem<UsageError>(),
              AllOf(HasSubstr("settings.yaml:1"), HasSubstr("train.steps"), HasSubstr("epochs")));
}

TEST_F(FinetuneSettings, AGroupOnTheCommandLineIsHeardLikeItsKeys) {
  pretrain();
  options_.overrides = {"train={global_batch_size: 8, micro_batch_size: 4}",
                        "model.moe.router.p_warmup.steps=10"};
  const config::Config config = config_of(options_, 1);
  EXPECT_EQ(config.train.micro_batch_size, 4);
  EXPECT_EQ(config.model.moe.router.options.as<config::TopPOptions>().p_warmup->steps, 10);
  options_.overrides = {"train={steps: 5}"};
  EXPECT_THAT(problem<UsageError>(), HasSubstr("train.steps: finetune decides this itself"));
  options_.overrides = {"train.calibrate=true"};
  EXPECT_THAT(problem<UsageError>(), HasSubstr("train.calibrate: finetune decides this itself"));
}

TEST_F(FinetuneSettings, AnotherRouterBeginsWithItsOwnDefaults) {
  pretrain();
  const auto target = [this] {
    return config_of(options_, 1).model.moe.router.options.as<config::ReluOptions>().target_k;
  };
  options_.overrides = {"model.moe.router.type=relu"};
  EXPECT_EQ(target(), 2.0) << "not top_p's, which the checkpoint spells out: 0";
  options_.overrides = {};
  options_.config_file = folder_ / "settings.yaml";
  write("settings.yaml", "model: {moe: {router: {type: relu}}}\n");
  EXPECT_EQ(target(), 2.0);
  options_.overrides = {"model.moe.router.target_k=3"};
  EXPECT_EQ(target(), 3.0);
}

TEST_F(FinetuneSettings, ShippedSettingsFitACheckpoint) {
  pretrain();
  int num_files = 0;
  for (const auto& file :
       fs::directory_iterator(fs::path(SWITCHYARD_SOURCE_DIR) / "configs/glue")) {
    options_.config_file = file.path();
    options_.overrides = {};
    for (const std::int64_t num_ranks : {1, 2}) {
      EXPECT_GT(config_of(options_, num_ranks).finetune.epochs, 0.0) << file.path();
    }
    ++num_files;
  }
  EXPECT_GE(num_files, 3);
}

}  // namespace
}  // namespace switchyard::glue
