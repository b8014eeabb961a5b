#include "switchyard/model/throughput.h"

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace switchyard::model {
namespace {

using testing::kTinyVocab;
using testing::tiny_config;

TEST(TrainingFlops, AreSixPerMatrixParameterUsedAndAttention) {
  const config::ModelConfig model = tiny_config().model;  // H 32, 2 layers, MoE in the second
  const double attention_matrices = 2.0 * 4 * 32 * 32;    // q, k, v, o of each layer
  const double dense = 3.0 * 32 * 48;
  const double router = 4.0 * 32;
  const double head = 32.0 * kTinyVocab;  // the tied embedding, once
  const double scores = 6.0 * 2 * 2 * 16 * 17;
  const double expert = 3.0 * 32 * 24;
  const TrainingFlops flops = count_training_flops(model, 16);
  EXPECT_DOUBLE_EQ(flops.fixed, 6.0 * (attention_matrices + dense + router + head) + scores);
  EXPECT_DOUBLE_EQ(flops.per_expert, 6.0 * expert);
  EXPECT_DOUBLE_EQ(flops.per_token(1.5), flops.fixed + 1.5 * flops.per_expert);
}

TEST(TrainingFlops, DenseModelDoesNotDependOnK) {
  config::ModelConfig model = tiny_config().model;
  model.moe.num_experts = 0;
  model.moe.layers = {};
  const TrainingFlops flops = count_training_flops(model, 16);
  EXPECT_EQ(flops.per_token(1.0), flops.per_token(4.0));
}

}  // namespace
}  // namespace switchyard::model
