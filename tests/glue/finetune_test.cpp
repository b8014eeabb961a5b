// Whole fine-tunings of seconds: from a pretrained encoder, from scratch, stopped and gone on with.
#include "switchyard/glue/finetune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>
#include <string>

#include "glue/finetune_fixture.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/glue/predict.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(Finetune, LearnsATaskFromAPretrainedEncoder) {
  pretrain();
  options_.num_seeds = 2;
  options_.submission = true;
  const std::vector<TaskResult> results = finetune(options_);
  ASSERT_EQ(results.size(), 1U);
  ASSERT_EQ(results[0].seeds.size(), 2U);
  EXPECT_NEAR(results[0].majority.at("accuracy"), 8.0 / 13.0, 1e-12);
  for (const SeedResult& seed : results[0].seeds) {
    EXPECT_LE(seed.num_steps, 40);
    EXPECT_EQ(seed.num_steps % 5, 0);
    EXPECT_EQ(seed.best_step % 5, 0) << "judged after every epoch of 5 batches";
    EXPECT_GT(seed.dev[0].metrics.at("accuracy"), 0.9);
    EXPECT_GE(seed.experts_per_token.value(), 1.0);
    EXPECT_TRUE(seed.experts_per_token_of_layer.contains(1));
  }
  EXPECT_NE(results[0].seeds[0].seed, results[0].seeds[1].seed);
  // The saved predictions are what the metric was computed from.
  const std::string first = "out/sst2/seed-" + std::to_string(results[0].seeds[0].seed);
  std::istringstream lines(read_file(folder_ / (first + "/predictions.tsv")));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "index\tprediction\tlabel");
  double right = 0;
  double count = 0;
  for (double index = 0, said = 0, label = 0; lines >> index >> said >> label; ++count) {
    right += said == label ? 1 : 0;
  }
  EXPECT_EQ(count, 13);
  EXPECT_EQ(json(first + "/eval_results.json")["eval_accuracy"].get<double>(), right / count);
  EXPECT_THAT(read_file(folder_ / "out/results.md"), HasSubstr("| SST-2 | accuracy |"));
  EXPECT_EQ(read_file(folder_ / "out/submission/SST-2.tsv"), "index\tprediction\n0\t1\n1\t0\n");
}

TEST_F(Finetune, AFineTunedModelLabelsNewText) {
  pretrain();
  (void)finetune(options_);
  write("new.tsv", "note\tsentence\tindex\nx\tso good 99\t7\ny\tso poor 98\t9\n");
  const fs::path run = folder_ / "out/sst2/seed-7";
  EXPECT_EQ(predict_file({.run = run, .input = (folder_ / "new.tsv").string()}),
            "index\tprediction\n7\t1\n9\t0\n");
  write("new.tsv", "sentence\nso good 99\nso poor 98\n");
  EXPECT_EQ(predict_file({.run = run, .input = (folder_ / "new.tsv").string()}),
            "index\tprediction\n0\t1\n1\t0\n");
  write("new.tsv", "sentence\tindex\nso good 99\t3\n\n\n");
  EXPECT_EQ(predict_file({.run = run, .input = (folder_ / "new.tsv").string()}),
            "index\tprediction\n3\t1\n")
      << "empty lines at the end are no rows";
  write("new.tsv", "text\nso good 99\n");
  EXPECT_THAT([&] { (void)predict_file({.run = run, .input = (folder_ / "new.tsv").string()}); },
              ::testing::ThrowsMessage<DataError>(HasSubstr("no column 'sentence'")));
  EXPECT_THAT(
      [&] {
        (void)predict_file({.run = folder_ / "run", .input = (folder_ / "new.tsv").string()});
      },
      ::testing::ThrowsMessage<UsageError>(HasSubstr("no finished fine-tuning")));
}

TEST_F(Finetune, TheTrunkIsTheCheckpointsAndTheHeadIsNew) {
  pretrain();
  options_.overrides.emplace_back("optim.learning_rate=0");
  options_.overrides.emplace_back("optim.weight_decay=0");
  (void)finetune(options_);
  const auto weights = [&](const std::string& run) {
    return checkpoint::Checkpoint::open(folder_ / run).weights().copies();
  };
  const auto before = weights("run");
  const auto after = weights("out/sst2/seed-7");
  EXPECT_TRUE(after.contains("classifier.out_proj.weight"));
  EXPECT_FALSE(after.contains("lm_head.weight"));
  for (const auto& [name, tensor] : before) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_TRUE(tensor.equal(after.at(name))) << name;
  }
}

TEST_F(Finetune, TheSameCommandGoesOnWhereItWasStopped) {
  pretrain();
  const std::string whole = to_json(finetune(options_)[0].seeds[0]);
  // As after a kill: the last evaluation and the results are missing.
  const fs::path run = folder_ / "out/sst2/seed-7";
  EXPECT_EQ(checkpoint::steps_in(run / "checkpoints").size(), 1U) << "only the best is kept";
  EXPECT_TRUE(fs::exists(run / "report.html"));
  fs::remove(run / "eval_results.json");
  EXPECT_EQ(to_json(finetune(options_)[0].seeds[0]), whole);
  // What is finished is not trained again.
  const auto time = fs::last_write_time(run / "metrics.jsonl");
  EXPECT_EQ(to_json(finetune(options_)[0].seeds[0]), whole);
  EXPECT_EQ(fs::last_write_time(run / "metrics.jsonl"), time);
  // But not with other settings.
  options_.overrides.emplace_back("optim.learning_rate=2e-2");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("optim.learning_rate"));
}

TEST_F(Finetune, AScoreIsLearnedToo) {
  pretrain();
  options_.tasks = parse_tasks("stsb");
  options_.overrides = {"train.global_batch_size=5", "finetune.epochs=60",
                        "finetune.pooling=first",    "train.early_stop_patience=0",
                        "optim.learning_rate=5e-3",  "model.dropout=0"};
  const std::vector<TaskResult> results = finetune(options_);
  EXPECT_GT(results[0].seeds[0].dev[0].metrics.at("spearmanr"), 0.8);
  EXPECT_TRUE(results[0].majority.empty());
}

TEST_F(Finetune, OtherRowsInTheSameFolderAreRefusedAndSaidWhich) {
  pretrain();
  options_.overrides = {"finetune.epochs=1"};
  (void)finetune(options_);
  write("glue/SST-2/dev.tsv", sentences(12, "sentence\tlabel\n"));
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("other dev rows"), HasSubstr("dev.tsv")));
  write("glue/SST-2/dev.tsv", sentences(13, "sentence\tlabel\n"));
  write("glue/SST-2/train.tsv", sentences(39, "sentence\tlabel\n"));
  EXPECT_THAT(problem<UsageError>(), AllOf(HasSubstr("other train rows"), HasSubstr("train.tsv")));
  // Once its runs are gone, a task may have new rows.
  fs::remove_all(folder_ / "out/sst2");
  EXPECT_EQ(problem<UsageError>(), "nothing");
}

TEST_F(Finetune, SeedsThatDivergeAreResultsAndOthersGoOn) {
  pretrain();
  options_.num_seeds = 2;
  options_.submission = true;
  options_.overrides = {"optim.learning_rate=1e30", "optim.clip_norm=0",
                        "train.max_skipped_steps=1", "train.global_batch_size=8"};
  const std::vector<TaskResult> results = finetune(options_);
  ASSERT_EQ(results[0].seeds.size(), 2U);
  EXPECT_EQ(results[0].num_diverged(), 2);
  EXPECT_GE(results[0].seeds[1].num_steps, 1);
  EXPECT_THAT(read_file(folder_ / "out/results.md"), HasSubstr("diverged at step"));
  write("new.tsv", "sentence\nso good 99\n");
  EXPECT_THAT(
      [&] {
        (void)predict_file(
            {.run = folder_ / "out/sst2/seed-7", .input = (folder_ / "new.tsv").string()});
      },
      ::testing::ThrowsMessage<UsageError>(HasSubstr("diverged")));
  // They would diverge again.
  const auto time = fs::last_write_time(folder_ / "out/sst2/seed-7/metrics.jsonl");
  EXPECT_EQ(finetune(options_)[0].num_diverged(), 2);
  EXPECT_EQ(fs::last_write_time(folder_ / "out/sst2/seed-7/metrics.jsonl"), time);
}

TEST_F(Finetune, WithoutACheckpointItNeedsAConfigAndATokenizer) {
  write("config.yaml",
        "run: {dir: x}\ndata: {path: y}\ntrain: {steps: 1, keep_best: false}\n"
        "optim: {learning_rate: 0.0125}\n"
        "model: {type: encoder, hidden_size: 16, "
        "num_layers: 1, num_heads: 2, ffn_size: 16}\n");
  options_.from.clear();
  options_.config_file = folder_ / "config.yaml";
  options_.tokenizer = "bytes";
  options_.overrides = {"finetune.epochs=1"};
  const std::vector<TaskResult> results = finetune(options_);
  EXPECT_FALSE(results[0].seeds[0].experts_per_token.has_value()) << "dense";
  EXPECT_THAT(read_file(folder_ / "out/finetune.json"), HasSubstr("none"));
  const std::string resolved =
      read_file(folder_ / ("out/sst2/seed-" + std::to_string(results[0].seeds[0].seed)) /
                "config.resolved.yaml");
  EXPECT_THAT(resolved, HasSubstr("learning_rate: 0.0125")) << "the file's";
  EXPECT_THAT(resolved, HasSubstr("global_batch_size: 32")) << "finetune's, which the file leaves";
  EXPECT_THAT(resolved, HasSubstr("keep_best: true")) << "whatever is said for pretraining";
}

TEST_F(Finetune, FromAFineTunedModelTheHeadIsNewAllTheSame) {
  pretrain();
  options_.overrides.insert(
      options_.overrides.end(),
      {"finetune.max_rows=8", "train.freeze_router=true", "optim.layer_decay=0.5"});
  (void)finetune(options_);
  options_.from = folder_ / "out/sst2/seed-7";
  options_.output = folder_ / "again";
  options_.tasks = parse_tasks("stsb");  // whose head has another shape
  options_.overrides.clear();
  const TaskResult result = finetune(options_)[0];
  EXPECT_EQ(result.seeds.size(), 1U);
  EXPECT_EQ(result.conditions.num_train_rows, 10) << "all, not as many as of the task before";
  EXPECT_THAT(read_file(folder_ / "again/stsb/seed-7/config.resolved.yaml"),
              AllOf(HasSubstr("freeze_router: false"), HasSubstr("layer_decay: 1\n"),
                    HasSubstr("epochs: 3\n")));
}

TEST_F(Finetune, AnIndexOfNewTextIsGivenBackByTheNameOfTheTestFileAndAsIndex) {
  pretrain();
  const std::string rows =
      "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
      "1\t2\t3\tso good\tso fine\t1\n4\t5\t6\tso good\tso poor\t0\n";
  write("glue/QQP/train.tsv", rows);
  write("glue/QQP/dev.tsv", rows);
  options_.tasks = parse_tasks("qqp");
  options_.overrides = {"finetune.epochs=1"};
  (void)finetune(options_);
  for (const char* name : {"id", "index"}) {
    write("new.tsv", std::string(name) + "\tquestion1\tquestion2\n71\tso good\tso fine\n");
    EXPECT_THAT(
        predict_file({.run = folder_ / "out/qqp/seed-7", .input = (folder_ / "new.tsv").string()}),
        HasSubstr("prediction\n71\t"))
        << name;
  }
}

TEST_F(Finetune, WrongInputIsRefusedBeforeAnythingIsTrained) {
  pretrain();
  options_.tasks = parse_tasks("sst2,rte");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("RTE/train.tsv"));
  options_.tasks = parse_tasks("sst2");
  write("glue/SST-2/dev.tsv", "sentence\tlabel\nso good\tyes\n");
  EXPECT_THAT(problem<DataError>(), HasSubstr("dev.tsv:2: unknown label 'yes'"));
  for (const auto& [key, instead] : std::vector<std::pair<std::string, std::string>>{
           {"train.steps=5", "finetune.epochs"}, {"run.dir=x", "--output"}}) {
    options_.overrides = {key};
    EXPECT_THAT(problem<UsageError>(), HasSubstr(instead));
  }
  options_.overrides = {"finetune.max_length=2"};
  EXPECT_THAT(problem<UsageError>(), HasSubstr("finetune.max_length"));
  EXPECT_FALSE(fs::exists(folder_ / "out")) << "nothing was begun";
}

TEST_F(Finetune, AFolderKeepsToOneCheckpoint) {
  pretrain();
  options_.overrides = {"finetune.epochs=1", "finetune.max_rows=8"};
  (void)finetune(options_);
  write("out/finetune.json", "{\"from\": \"elsewhere\", \"fingerprint\": \"0\"}\n");
  EXPECT_THAT(problem<UsageError>(), HasSubstr("started from elsewhere"));
}

}  // namespace
}  // namespace switchyard::glue
