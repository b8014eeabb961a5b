#include "switchyard/train/build.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "support/temporary_folder.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/train/pretrain.h"
#include "train/state_memory.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30U;

// Takes 16 bytes for each of 269 million parameters, 4.0 GiB.
config::Config config_of_4_gib() {
  config::Config config =
      config::load_text(
          "model: {hidden_size: 4096, num_heads: 8, num_layers: 1, ffn_size: 16384,\n"
          "        vocab_size: 256, moe: {num_experts: 0}}\n"
          "run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\n",
          "test.yaml", {})
          .config;
  config.train.precision = "fp32";
  return config;
}

HostFacts host(std::uint64_t memory, std::uint64_t swap) {
  HostFacts facts;
  facts.memory_bytes = memory;
  facts.swap_bytes = swap;
  return facts;
}

std::string told_of_memory(const config::Config& config, const HostFacts& facts) {
  ::testing::internal::CaptureStderr();
  check_state_fits(config, facts, {});
  return ::testing::internal::GetCapturedStderr();
}

TEST(StateMemory, WhatFitsIsNoCauseForWords) {
  EXPECT_EQ(told_of_memory(config_of_4_gib(), host(6 * kGiB, 0)), "");
  EXPECT_EQ(told_of_memory(config_of_4_gib(), host(0, 0)), "") << "the kernel does not tell";
}

TEST(StateMemory, WhatNeitherMemoryNorSwapHoldsIsRefused) {
  EXPECT_THAT([] { check_state_fits(config_of_4_gib(), host(2 * kGiB, kGiB), {}); },
              ThrowsMessage<OutOfMemoryError>(
                  AllOf(HasSubstr("take 4"), HasSubstr("has 2G and 1G of swap"))));
  HostFacts limited = host(8 * kGiB, 0);
  limited.memory_limit_bytes = kGiB;  // of a cgroup
  EXPECT_THROW(check_state_fits(config_of_4_gib(), limited, {}), OutOfMemoryError);
}

TEST(StateMemory, WhatFitsWithSwapOnlyIsWarnedOf) {
  EXPECT_THAT(told_of_memory(config_of_4_gib(), host(2 * kGiB, 8 * kGiB)),
              AllOf(HasSubstr("warning"), HasSubstr("every step will wait for the swap")));
}

// Each has weights, masters' part and gradients, 8 bytes a parameter, and its share of 8 of
// moments.
TEST(StateMemory, RanksOfOneMachineShareItsMemory) {
  config::Config config = config_of_4_gib();
  const RankEnvironment four{.num_ranks = 4, .num_local_ranks = 4};
  EXPECT_NO_THROW(check_state_fits(config, host(11 * kGiB, 0), four)) << "4 times 2 GiB, and 2";
  EXPECT_THAT([&] { check_state_fits(config, host(9 * kGiB, 0), four); },
              ThrowsMessage<OutOfMemoryError>(HasSubstr("on 4 ranks")));
  const RankEnvironment two_machines{.num_ranks = 4, .num_local_ranks = 2};
  EXPECT_NO_THROW(check_state_fits(config, host(6 * kGiB, 0), two_machines));
  config.parallel.shard_optimizer = false;
  EXPECT_NO_THROW(check_state_fits(config, host(17 * kGiB, 0), four));
  EXPECT_THROW(check_state_fits(config, host(15 * kGiB, 0), four), OutOfMemoryError);
}

TEST(StateMemory, AGpuHoldsWhatIsOfItsRank) {
  const config::Config config = config_of_4_gib();
  EXPECT_NO_THROW(check_state_fits_gpu(config, {}, 5 * kGiB));
  EXPECT_THAT([&] { check_state_fits_gpu(config, {}, 3 * kGiB); },
              ThrowsMessage<OutOfMemoryError>(AllOf(HasSubstr("take 4"), HasSubstr("has 3G"))));
  EXPECT_NO_THROW(check_state_fits_gpu(config, {.num_ranks = 4}, 3 * kGiB)) << "moments shared out";
}

// ---------------------------------------------------------------- weights alone

// Of 269 million parameters fp32 takes 1.0 GiB, bf16 with its masters 1.5, fp64 2.0.
std::string told_of_weights(const std::string& precision, const HostFacts& facts) {
  config::Config config = config_of_4_gib();
  config.train.precision = precision;
  ::testing::internal::CaptureStderr();
  std::string refused;
  try {
    check_weights_fit(config, facts);
  } catch (const OutOfMemoryError& error) {
    refused = std::string("refused: ") + error.what();
  }
  return ::testing::internal::GetCapturedStderr() + refused;
}

TEST(WeightsMemory, OfAModelThatIsNotTrainedItIsTheWeightsThatHaveToFit) {
  const std::uint64_t half = kGiB / 2;
  EXPECT_EQ(told_of_weights("fp32", host(kGiB + half / 2, 0)), "");
  EXPECT_THAT(
      told_of_weights("bf16", host(kGiB + half / 2, 0)),
      AllOf(HasSubstr("refused: the model's weights take 1.5G"), HasSubstr("this machine has 1.")));
  EXPECT_EQ(told_of_weights("bf16", host(2 * kGiB, 0)), "");
  EXPECT_THAT(told_of_weights("fp64", host(2 * kGiB, 0)), HasSubstr("refused"));
  EXPECT_THAT(told_of_weights("fp32", host(half, half / 2)),
              AllOf(HasSubstr("refused"), HasSubstr("has 512M and 256M of swap")));
  EXPECT_EQ(told_of_weights("fp64", host(0, 0)), "") << "the kernel does not tell";
}

TEST(WeightsMemory, WhatFitsWithSwapOnlyIsWarnedOf) {
  EXPECT_THAT(told_of_weights("fp32", host(kGiB / 2, kGiB)),
              AllOf(HasSubstr("warning"), HasSubstr("every pass will wait for the swap"),
                    Not(HasSubstr("refused"))));
}

TEST(WeightsMemory, ALimitOfACgroupCounts) {
  HostFacts limited = host(8 * kGiB, 0);
  limited.memory_limit_bytes = kGiB / 2;
  EXPECT_THAT(told_of_weights("fp32", limited), HasSubstr("refused"));
}

// A checkpoint of 12 TiB, if its config is to be believed.
TEST(WeightsMemory, ACheckpointThatNoMemoryHoldsIsRefusedBeforeItsModelIsMade) {
  const testing::TemporaryFolder folder;
  const data::Tokenizer tokenizer = data::Tokenizer::byte_level();
  checkpoint::SaveRequest request;
  request.step = 1;
  request.plan = checkpoint::one_file_per_kind({.weights = {{"a", at::zeros({4}, at::kFloat)}}});
  request.tokenizer_file = tokenizer.file_name();
  request.tokenizer_bytes = tokenizer.serialized();
  request.resolved_config =
      "model: {hidden_size: 1048576, num_heads: 8, head_dim: 64, num_layers: 1,\n"
      "        ffn_size: 1048576, vocab_size: 257, moe: {num_experts: 0}}\n"
      "run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\n";
  (void)checkpoint::save(folder / "checkpoints", request);
  EXPECT_THAT([&] { (void)load_model(folder.path()); },
              ThrowsMessage<OutOfMemoryError>(HasSubstr("the model's weights take 12")));
}

std::string told_of_build(const config::Config& config) {
  ::testing::internal::CaptureStderr();
  (void)build(config);
  return ::testing::internal::GetCapturedStderr();
}

// What is said of a run of 20 steps that asks of its evaluations...
std::string told(std::int64_t evaluate_every, bool keep_best, std::int64_t early_stop_patience) {
  TinyRunFolder tiny;
  tiny.config.train.evaluate_every = evaluate_every;
  tiny.config.train.keep_best = keep_best;
  tiny.config.train.early_stop_patience = early_stop_patience;
  return told_of_build(tiny.config);
}

TEST(Build, EvaluationsThatAreTooFewForWhatIsAskedOfThemAreWarnedOf) {
  EXPECT_THAT(told(0, true, 0), HasSubstr("train.keep_best keeps the last checkpoint"));
  EXPECT_THAT(told(0, false, 3),
              AllOf(HasSubstr("train.early_stop_patience=3 stops nothing"),
                    HasSubstr("only at its end"), HasSubstr("train.evaluate_every of 5 or less")));
  EXPECT_THAT(told(10, false, 2), HasSubstr("the run is evaluated 2 times"));
  EXPECT_THAT(told(5, true, 3),
              AllOf(Not(HasSubstr("keep_best")), Not(HasSubstr("early_stop_patience"))));
}

TEST(Build, ASettingThatNothingReadsIsWarnedOf) {
  TinyRunFolder tiny;
  EXPECT_THAT(told_of_build(tiny.config), Not(HasSubstr("does nothing")));
  tiny.config.parallel.exchange_chunks = 2;
  EXPECT_THAT(told_of_build(tiny.config), HasSubstr("parallel.exchange_chunks=2 does nothing"));
}

TEST(Build, ASetOfABlendThatEvaluationsSayNothingOfIsNamed) {
  TinyRunFolder tiny;
  tiny.prepare_lines("more", 300);
  data::PrepareOptions none;
  none.inputs = {(tiny.folder / "more.txt").string()};
  none.tokenizer = "bytes";
  none.output = tiny.folder / "none-held-back";
  none.validation = 0.0;
  (void)data::prepare(none);
  tiny.config.data.blend = {{tiny.config.data.path, 1.0}, {(tiny.folder / "more").string(), 1.0}};
  tiny.config.data.path.clear();
  EXPECT_THAT(told_of_build(tiny.config), Not(HasSubstr("evaluations say nothing")));
  tiny.config.data.blend.push_back({none.output.string(), 1.0});
  EXPECT_THAT(told_of_build(tiny.config), AllOf(HasSubstr("none-held-back has no full window"),
                                                HasSubstr("evaluations say nothing of it")));
}

TEST(LoadModel, AnotherPrecisionThanTheRunsComputesExpertsInAWayThatKnowsIt) {
  TinyRunFolder tiny;
  tiny.config.model.moe.compute = "grouped_mm";
  tiny.config.train.steps = 1;
  (void)pretrain(tiny.config);
  EXPECT_EQ(load_model(tiny.folder / "run").config.model.moe.compute, "grouped_mm");
  // Of fp64 it knows nothing.
  EXPECT_NO_THROW((void)load_model(tiny.folder / "run", {.precision = "fp64"}));
}

}  // namespace
}  // namespace switchyard::train
