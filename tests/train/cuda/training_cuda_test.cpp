// Training, evaluation and generation on a GPU against the CPU and against themselves.
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/core/file.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/inference/generate.h"
#include "switchyard/train/pretrain.h"
#include "train/cuda/gpu.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;

// Sizes that the grouped products take, one MoE layer, dropout on.
config::Config gpu_config(const std::string& router, const std::string& precision,
                          const std::string& device) {
  config::Config config = tiny_config(precision);
  config.model.moe.router = config::RouterConfig(router);
  config.model.dropout = 0.1;
  config.train.device = device;
  config.train.micro_batch_size = 4;  // two micro-batches
  return config;
}

class TrainingOnGpu : public OnGpu<::testing::TestWithParam<const char*>> {};

TEST_P(TrainingOnGpu, StartsWithTheLossesAndGradientsOfTheCpu) {
  const TinyRun cpu(gpu_config(GetParam(), "fp32", "cpu"));
  const TinyRun gpu(gpu_config(GetParam(), "fp32", test_device()));
  const auto expected = cpu.train(3);
  const auto actual = gpu.train(3);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i].lm_loss, expected[i].lm_loss, 2e-4 * expected[i].lm_loss) << "step " << i;
    EXPECT_NEAR(actual[i].grad_norm, expected[i].grad_norm, 5e-3 * expected[i].grad_norm);
    EXPECT_EQ(actual[i].num_tokens, expected[i].num_tokens);
  }
}

TEST_P(TrainingOnGpu, LearnsInBf16WhatTheCpuLearnsInFp32) {
  const auto last_losses = [](const config::Config& config) {
    const auto steps = TinyRun(config).train(200);
    return std::accumulate(steps.end() - 20, steps.end(), 0.0,
                           [](double sum, const auto& step) { return sum + step.lm_loss; }) /
           20.0;
  };
  config::Config cpu = gpu_config(GetParam(), "fp32", "cpu");
  config::Config gpu = gpu_config(GetParam(), "bf16", test_device());
  for (config::Config* config : {&cpu, &gpu}) {
    config->train.steps = 200;
    config->model.dropout = 0.0;
  }
  const double expected = last_losses(cpu);
  EXPECT_NEAR(last_losses(gpu), expected, 0.01 * expected);
}

TEST_P(TrainingOnGpu, GivesTheSameBitsEveryTime) {
  config::Config config = gpu_config(GetParam(), "bf16", test_device());
  const auto weights_after_five_steps = [&config] {
    const TinyRun run(config);
    (void)run.train(5);
    return run.weights();
  };
  ops::make_deterministic();
  const std::vector<at::Tensor> first = weights_after_five_steps();
  for (int repeat = 0; repeat < 4; ++repeat) {
    const std::vector<at::Tensor> again = weights_after_five_steps();
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(again[i].equal(first[i])) << i;
  }
}

TEST_P(TrainingOnGpu, RecomputedBlocksGiveTheSameBits) {
  config::Config config = gpu_config(GetParam(), "bf16", test_device());
  ops::make_deterministic();
  const TinyRun kept(config);
  config.train.recompute = true;
  const TinyRun recomputed(config);
  (void)kept.train(3);
  (void)recomputed.train(3);
  const auto expected = kept.weights();
  const auto actual = recomputed.weights();
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(actual[i].equal(expected[i])) << i;
}

// The number of rows, which only the GPU knows. The backward pass knows it already.
TEST_P(TrainingOnGpu, WaitsOncePerMoeLayerAndMicroBatch) {
  if (test_device() == "cpu") GTEST_SKIP() << "a CPU waits for nobody";
  config::Config config = gpu_config(GetParam(), "bf16", test_device());
  config.model.moe.layers = {0, 1};
  const TinyRun run(config);
  (void)run.train(1);
  const std::int64_t before = ops::num_host_waits();
  (void)run.train(1);
  EXPECT_EQ(ops::num_host_waits() - before, 2 * 2);
}

TEST_P(TrainingOnGpu, ResumesBitForBit) {
  TinyRunFolder tiny;
  config::Config& config = tiny.config;
  config.model.moe.router = config::RouterConfig(GetParam());
  config.model.dropout = 0.1;
  config.train.device = test_device();
  config.train.precision = "bf16";
  config.train.deterministic = true;
  config.train.checkpoint_every = 7;
  config.train.keep_last = 10;
  config.schedule.steps = config.train.steps;
  (void)pretrain(config);
  config.run.dir = (tiny.folder / "stopped").string();
  (void)pretrain(config);
  const fs::path checkpoints = tiny.folder / "stopped/checkpoints";
  for (const fs::path& step : checkpoint::steps_in(checkpoints)) {
    if (checkpoint::step_of(step) > 7) fs::remove_all(step);
  }
  (void)resume(config::load(tiny.folder / "stopped/config.resolved.yaml", {}).config, {});
  for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string file = std::string("checkpoints/step-000020/") + name;
    EXPECT_EQ(read_file(tiny.folder / "stopped" / file), read_file(tiny.folder / "run" / file))
        << name;
  }
}

TEST_P(TrainingOnGpu, EvaluatesAndGeneratesAsTheCpuDoes) {
  TinyRunFolder tiny;
  tiny.config.model.moe.router = config::RouterConfig(GetParam());
  (void)pretrain(tiny.config);
  const std::string text = "line 3 of the book\nline 7 of the book\n";
  std::vector<std::string> texts;
  std::vector<double> losses;
  for (const std::string& device : {std::string("cpu"), test_device()}) {
    LoadedModel loaded = load_model(tiny.folder / "run", {.precision = "fp32", .device = device});
    const std::int64_t length = loaded.config.data.sequence_length;
    losses.push_back(inference::evaluate_text(*loaded.decoder, loaded.tokenizer, text,
                                              {.sequence_length = length, .step = loaded.step})
                         .loss);
    texts.push_back(inference::generate(*loaded.decoder, loaded.tokenizer, "line",
                                        {.sampling = {.temperature = 0.0},
                                         .max_tokens = 24,
                                         .sequence_length = length,
                                         .step = loaded.step})
                        .text);
  }
  EXPECT_NEAR(losses[1], losses[0], 1e-4 * losses[0]);
  EXPECT_EQ(texts[1], texts[0]);
}

INSTANTIATE_TEST_SUITE_P(Routers, TrainingOnGpu,
                         ::testing::Values("top_p", "top_k", "attention_importance"));

}  // namespace
}  // namespace switchyard::train
