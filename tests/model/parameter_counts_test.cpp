// The published sizes of Huang et al.'s model, and that its layers run at full width.
#include "switchyard/model/parameter_counts.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "model/decoder_fixture.h"
#include "switchyard/config/presets.h"
#include "switchyard/core/error.h"

namespace switchyard::model {
namespace {

TEST(ParameterCount, OfASmallModelByHand) {
  const config::ModelConfig config = small_config();
  const ParameterCounts counts = count_parameters(config);
  const std::int64_t embedding = 19 * 12;
  const std::int64_t attention = 12 * (4 + 2 + 2) * 4 + 16 * 12;
  const std::int64_t dense = 3 * 12 * 10;
  const std::int64_t expert = 3 * 12 * 6;
  const std::int64_t router = 4 * 12;
  EXPECT_EQ(counts.embedding, embedding);
  EXPECT_EQ(counts.head, 0);
  EXPECT_EQ(counts.per_expert, expert);
  EXPECT_EQ(counts.num_moe_layers, 1);
  EXPECT_EQ(counts.total, embedding + 2 * attention + dense + router + 4 * expert + 5 * 12);
  EXPECT_EQ(counts.dense_matmul, embedding + 2 * attention + dense + router);
  EXPECT_DOUBLE_EQ(counts.activated(1.5),
                   static_cast<double>(counts.dense_matmul) + 1.5 * static_cast<double>(expert));
}

TEST(ParameterCount, ASharedExpertIsOfEveryToken) {
  config::ModelConfig config = small_config();
  const ParameterCounts without = count_parameters(config);
  config.moe.shared_expert_size = 7;
  const ParameterCounts with = count_parameters(config);
  EXPECT_EQ(with.total - without.total, 3 * 12 * 7);
  EXPECT_EQ(with.dense_matmul - without.dense_matmul, 3 * 12 * 7);
  EXPECT_EQ(with.per_expert, without.per_expert);
  config.moe.shared_expert_gate = true;
  EXPECT_EQ(count_parameters(config).dense_matmul - with.dense_matmul, 12);
}

// "3.5 B parameters, about 374 M / 581 M used per token at k = 1 / 2": both tables are counted.
TEST(ParameterCount, OfHuangsModelIsAsPublished) {
  const config::ModelConfig config = config::load_model_preset("huang-3.5b");
  const ParameterCounts counts = count_parameters(config);
  EXPECT_EQ(counts.num_moe_layers, 24);
  EXPECT_NEAR(static_cast<double>(counts.total), 3.49e9, 0.005e9);
  const auto used = [&](double k) {
    return counts.activated(k) + static_cast<double>(counts.embedding);
  };
  EXPECT_NEAR(used(1.0), 374e6, 0.6e6);
  EXPECT_NEAR(used(2.0), 581e6, 0.9e6);
}

TEST(ParameterCount, EverySecondLayerOfExpertsHalvesThem) {
  const ParameterCounts all = count_parameters(config::load_model_preset("huang-3.5b"));
  const ParameterCounts half = count_parameters(config::load_model_preset("huang-3.5b-every2"));
  EXPECT_EQ(half.num_moe_layers, 12);
  EXPECT_EQ(half.per_expert, all.per_expert);
  // A dense layer is as large as one expert; twelve routers less.
  EXPECT_EQ(all.total - half.total, 12 * (15 * all.per_expert + 16 * 1024));
}

// All that the configuration allows: by arithmetic, not by building lists.
TEST(ParameterCount, OfTheMostExpertsAndLayersTakesLittleTimeAndMemory) {
  config::ModelConfig config = small_config();
  config.num_layers = 10000;
  config.moe.num_experts = 65536;
  config.moe.layers.resize(10000);
  std::iota(config.moe.layers.begin(), config.moe.layers.end(), 0);
  const auto start = std::chrono::steady_clock::now();
  const ParameterCounts counts = count_parameters(config);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(counts.num_moe_layers, 10000);
  EXPECT_EQ(counts.per_expert, 3 * 12 * 6);
}

TEST(ParameterCount, Beyond64BitsIsRefused) {
  config::ModelConfig config = small_config();
  config.moe.num_experts = 65536;
  config.hidden_size = config.moe.expert_size = 1 << 24;
  EXPECT_THROW((void)count_parameters(config), UsageError);  // one tensor
  config.moe.num_experts = 1024;
  config.num_layers = 40;
  config.moe.layers.resize(40);
  std::iota(config.moe.layers.begin(), config.moe.layers.end(), 0);
  EXPECT_THROW((void)count_parameters(config), UsageError);  // their sum
  config = small_config();
  config.vocab_size = 0;
  EXPECT_THROW((void)count_parameters(config), UsageError);
}

// Two of the 24 layers at full width: 350 M parameters.
TEST(ParameterCount, ASliceOfHuangsModelTrainsOneStep) {
  config::ModelConfig config = config::load_model_preset("huang-3.5b");
  config.num_layers = 2;
  config.moe.layers = {0, 1};
  const auto decoder = std::make_unique<Decoder>(config, 16, ops::PrecisionPolicy{});
  const at::Generator generator = at::detail::createCPUGenerator(1);
  for (ops::Parameter* parameter : decoder->parameters()) {
    if (parameter->numel() < 1000000) {
      ops::initialize(*parameter, 1);
    } else {  // seconds less than normal numbers
      parameter->master.uniform_(-0.03, 0.03, generator);
    }
  }
  const Batch batch = make_batch({random_tokens(16, 1, config.vocab_size)});
  const double loss = loss_and_gradients(*decoder, batch);
  // Untrained: close to uniform over the vocabulary (15 labels), plus 0.1 of the entropy of 32
  // nearly uniform routings; logits deviate by about 0.55.
  EXPECT_NEAR(loss, 15.0 * std::log(32000.0) + 3.2 * std::log(16.0), 8.0);
  for (const ops::Parameter* parameter : decoder->parameters()) {
    const auto norm = parameter->grad.norm().item<double>();
    EXPECT_TRUE(std::isfinite(norm) && norm > 0.0) << parameter->name << ": " << norm;
  }
}

}  // namespace
}  // namespace switchyard::model
