#include "train/layer_rates.h"

#include <gtest/gtest.h>

#include "switchyard/core/error.h"

namespace switchyard::train {
namespace {

TEST(LayerRates, FallFromTheHeadToTheEmbeddings) {
  EXPECT_EQ(learning_rate_scale("classifier.dense.weight", 3, 0.5), 1.0);
  EXPECT_EQ(learning_rate_scale("model.norm.weight", 3, 0.5), 1.0);
  EXPECT_EQ(learning_rate_scale("model.layers.2.moe.experts.w1", 3, 0.5), 0.5);
  EXPECT_EQ(learning_rate_scale("model.layers.0.input_norm.weight", 3, 0.5), 0.125);
  EXPECT_EQ(learning_rate_scale("model.embed_tokens.weight", 3, 0.5), 0.0625);
  EXPECT_EQ(learning_rate_scale("model.layers.10.moe.router.weight", 12, 0.5), 0.25);
}

TEST(LayerRates, AreAllOneWithoutDecay) {
  EXPECT_EQ(learning_rate_scale("model.embed_tokens.weight", 30, 1.0), 1.0);
  EXPECT_EQ(learning_rate_scale("model.layers.7.moe.router.weight", 30, 1.0), 1.0);
}

TEST(LayerRates, ALayerThatTheModelLacksIsAMistake) {
  EXPECT_THROW((void)learning_rate_scale("model.layers.3.input_norm.weight", 3, 0.5),
               InternalError);
}

}  // namespace
}  // namespace switchyard::train
