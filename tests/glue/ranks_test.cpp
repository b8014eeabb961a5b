// Fine-tuning on two data-parallel ranks comes to what it comes to on one.
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

class FinetuneRanks : public ::testing::Test {
 protected:
  FinetuneRanks() {
    write("train.tsv", 37);  // of an epoch's last step one rank gets five rows, the other none
    write("dev.tsv", 77);    // several passes, of which each rank makes some
    std::ofstream(folder_ / "encoder.yaml")
        << "run: {dir: unused, seed: 3}\ndata: {path: unused}\n"
           "train: {steps: 1, precision: fp64}\n"
           "model: {type: encoder, hidden_size: 32, num_layers: 2, num_heads: 2, ffn_size: 48, "
           "moe: {num_experts: 4, expert_size: 24, layers: [1]}}\n";
  }

  void write(const std::string& name, int count) const {
    fs::create_directories(folder_ / "glue/SST-2");
    std::ofstream file(folder_ / "glue/SST-2" / name);
    file << "sentence\tlabel\n";
    for (int i = 0; i < count; ++i) {
      file << "line " << i * i % 97 << (i % 3 == 0 ? " so good\t1\n" : " so poor\t0\n");
    }
  }

  [[nodiscard]] FinetuneOptions options(const std::string& output,
                                        const std::vector<std::string>& more = {}) const {
    FinetuneOptions options{
        .tasks = parse_tasks("sst2"),
        .data = folder_ / "glue",
        .from = {},
        .config_file = folder_ / "encoder.yaml",
        .tokenizer = "bytes",
        .output = folder_ / output,
        .num_seeds = 2,
        .overrides = {"finetune.epochs=2", "finetune.max_length=32", "train.global_batch_size=16",
                      "train.log_every=1", "optim.learning_rate=3e-3"}};
    options.overrides.insert(options.overrides.end(), more.begin(), more.end());
    return options;
  }

  [[nodiscard]] std::vector<TaskResult> on_ranks(std::int64_t num_ranks,
                                                 const FinetuneOptions& options) const {
    std::vector<TaskResult> leaders;
    std::mutex mutex;
    std::vector<std::string> tables;
    comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
      std::vector<TaskResult> results = finetune(options, world);
      const std::lock_guard lock(mutex);
      tables.push_back(results_json(results));
      if (world.rank() == 0) leaders = std::move(results);
    });
    for (const std::string& table : tables) EXPECT_EQ(table, tables.front()) << "on all ranks";
    return leaders;
  }

  [[nodiscard]] std::vector<double> losses(const std::string& run) const {
    std::vector<double> losses;
    std::istringstream lines(read_file(folder_ / run / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const format::Json record = format::parse_json(line, "metrics.jsonl");
      if (record.contains("loss")) losses.push_back(record["loss"].get<double>());
    }
    return losses;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(FinetuneRanks, TwoHaveTheFiguresOfOne) {
  const TaskResult one = on_ranks(1, options("one"))[0];
  const TaskResult two = on_ranks(2, options("two"))[0];
  ASSERT_EQ(one.seeds.size(), 2U);
  for (std::size_t i = 0; i < one.seeds.size(); ++i) {
    EXPECT_EQ(one.seeds[i].best_step, two.seeds[i].best_step);
    EXPECT_EQ(one.seeds[i].num_steps, 6) << "two epochs of 37 rows by 16";
    EXPECT_EQ(one.seeds[i].dev[0].metrics, two.seeds[i].dev[0].metrics);
    EXPECT_NEAR(one.seeds[i].dev[0].loss, two.seeds[i].dev[0].loss, 1e-10);
    EXPECT_EQ(one.seeds[i].experts_per_token, two.seeds[i].experts_per_token);
  }
  for (const char* seed : {"seed-3", "seed-4"}) {
    const std::vector<double> a = losses(std::string("one/sst2/") + seed);
    const std::vector<double> b = losses(std::string("two/sst2/") + seed);
    ASSERT_EQ(a.size(), b.size());
    ASSERT_EQ(a.size(), 8U) << "six steps, two evaluations";
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-10) << i;
  }
}

TEST_F(FinetuneRanks, OtherRanksGoOnWithAGridInTheMiddleOfASeed) {
  const TaskResult whole = on_ranks(1, options("one"))[0];
  (void)on_ranks(1, options("two"));
  // As after a kill: of the second seed the last evaluation and the results are missing.
  fs::remove(folder_ / "two/sst2/seed-4/eval_results.json");
  const TaskResult two = on_ranks(2, options("two"))[0];
  for (std::size_t i = 0; i < whole.seeds.size(); ++i) {
    EXPECT_EQ(whole.seeds[i].dev[0].metrics, two.seeds[i].dev[0].metrics);
    EXPECT_NEAR(whole.seeds[i].dev[0].loss, two.seeds[i].dev[0].loss, 1e-10);
    EXPECT_EQ(whole.seeds[i].cost, two.seeds[i].cost);
  }
  const TaskResult one = on_ranks(1, options("two"))[0];
  EXPECT_EQ(results_json({one}), results_json({two})) << "of two ranks, read by one";
  EXPECT_THAT(read_file(folder_ / "two/log.txt"), Not(HasSubstr("micro-steps of")));
}

// "The newest of a run" may be another one for each.
TEST_F(FinetuneRanks, AllBeginWithTheLeadersCheckpoint) {
  (void)on_ranks(1, options("one"));
  FinetuneOptions from = options("alone");
  from.config_file.clear();
  from.tokenizer.clear();
  from.num_seeds = 1;
  from.from = folder_ / "one/sst2/seed-3";
  const double alone = on_ranks(1, from)[0].seeds[0].dev[0].loss;
  from.output = folder_ / "both";
  double both = 0.0;
  comm::run_ranks(2, [&](comm::Communicator& world) {
    FinetuneOptions own = from;
    if (world.rank() == 1) own.from = folder_ / "one/sst2/seed-4";
    const std::vector<TaskResult> results = finetune(own, world);
    if (world.rank() == 0) both = results[0].seeds[0].dev[0].loss;
  });
  EXPECT_NEAR(alone, both, 1e-10);
}

// The config of two ranks is written after their environment.
TEST_F(FinetuneRanks, AKillBetweenTheFilesOfAStartIsNoOtherSetting) {
  FinetuneOptions options = this->options("two");
  options.num_seeds = 1;
  (void)on_ranks(1, options);
  const fs::path run = folder_ / "two/sst2/seed-3";
  fs::remove(run / "eval_results.json");
  format::Json environment = format::parse_json(read_file(run / "environment.json"), "environment");
  EXPECT_EQ(environment["ranks"], "1x1");
  EXPECT_EQ(environment["micro_step"], 16);
  environment["ranks"] = "2x1";
  write_file_atomically(run / "environment.json", format::json_text(environment));
  EXPECT_NO_THROW((void)on_ranks(2, options));
  environment["micro_step"] = 32;
  write_file_atomically(run / "environment.json", format::json_text(environment));
  fs::remove(run / "eval_results.json");
  EXPECT_THROW((void)on_ranks(2, options), UsageError);
}

TEST_F(FinetuneRanks, OtherMicroStepsAreNotTheSameSettings) {
  const auto with_micro_batch = [this](const char* size) {
    FinetuneOptions options = this->options("two", {std::string("train.micro_batch_size=") + size});
    options.num_seeds = 1;
    return options;
  };
  (void)on_ranks(1, with_micro_batch("8"));
  (void)on_ranks(2, with_micro_batch("4"));  // reads: as many sequences at a time
  EXPECT_THAT([&] { (void)on_ranks(2, with_micro_batch("8")); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("micro-steps of 8 sequences (8 on 1 rank)"),
                                              HasSubstr("now they are of 16 (8 on 2 ranks)"))));
}

TEST_F(FinetuneRanks, ASeedThatDivergesDoesSoOnAllOfThem) {
  const FinetuneOptions wild = options(
      "wild", {"optim.learning_rate=1e300", "optim.clip_norm=0", "train.max_skipped_steps=1"});
  EXPECT_EQ(on_ranks(2, wild)[0].num_diverged(), 2);
}

TEST_F(FinetuneRanks, WhatIsDoneIsReadOnAllOfThem) {
  const TaskResult first = on_ranks(2, options("two"))[0];
  const auto time = fs::last_write_time(folder_ / "two/sst2/seed-4/metrics.jsonl");
  const TaskResult again = on_ranks(2, options("two"))[0];
  EXPECT_EQ(results_json({first}), results_json({again}));
  EXPECT_EQ(fs::last_write_time(folder_ / "two/sst2/seed-4/metrics.jsonl"), time);
}

}  // namespace
}  // namespace switchyard::glue
