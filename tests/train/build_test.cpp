#include "switchyard/train/build.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "switchyard/core/error.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using ::testing::HasSubstr;

std::map<std::string, at::Tensor> by_name(const std::vector<checkpoint::NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> map;
  for (const auto& [name, tensor] : tensors) map.emplace(name, tensor.clone());
  return map;
}

config::Config stateful_config() {
  config::Config config = tiny_config();
  config.model.moe.router = config::RouterConfig("attention_importance");
  return config;
}

std::string message_of(model::Decoder& decoder, const std::map<std::string, at::Tensor>& weights,
                       const std::map<std::string, at::Tensor>& state) {
  try {
    load_weights(decoder, weights, "some/checkpoint");
    load_router_state(decoder, state, "some/checkpoint");
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

TEST(PrecisionPolicy, KnowsThreePrecisions) {
  EXPECT_EQ(precision_policy("fp32").compute, at::kFloat);
  EXPECT_EQ(precision_policy("bf16").compute, at::kBFloat16);
  EXPECT_EQ(precision_policy("fp64").compute, at::kDouble);
  EXPECT_THROW((void)precision_policy("fp16"), UsageError);
}

TEST(SaveRequest, NamesEveryExpertAndProjectionByItself) {
  const TinyRun run(tiny_config());
  const auto weights = by_name(save_request(*run.decoder).weights);
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.mlp.gate_proj.weight", "model.layers.1.moe.router.weight",
        "model.layers.1.moe.experts.0.gate_proj.weight",
        "model.layers.1.moe.experts.3.up_proj.weight",
        "model.layers.1.moe.experts.3.down_proj.weight", "model.norm.weight"}) {
    EXPECT_TRUE(weights.contains(name)) << name;
  }
  std::int64_t numel = 0;
  for (const auto& [name, tensor] : weights) numel += tensor.numel();
  EXPECT_EQ(numel, model::count_parameters(tiny_config().model).total);
  EXPECT_EQ(weights.at("model.layers.1.moe.experts.2.down_proj.weight").sizes(),
            (std::vector<std::int64_t>{32, 24}));
}

TEST(LoadWeights, GivesBackEveryBitAndTheRouterState) {
  const TinyRun source(stateful_config());
  (void)source.train(3);
  config::Config other = stateful_config();
  other.run.seed = 8;
  const TinyRun target(other);
  const checkpoint::SaveRequest saved = save_request(*source.decoder);
  ASSERT_FALSE(saved.router_state.empty());
  load_weights(*target.decoder, by_name(saved.weights), "memory");
  load_router_state(*target.decoder, by_name(saved.router_state), "memory");
  const checkpoint::SaveRequest loaded = save_request(*target.decoder);
  for (std::size_t i = 0; i < saved.weights.size(); ++i) {
    EXPECT_TRUE(at::equal(saved.weights[i].tensor, loaded.weights[i].tensor));
  }
  for (std::size_t i = 0; i < saved.router_state.size(); ++i) {
    EXPECT_EQ(saved.router_state[i].name, loaded.router_state[i].name);
    EXPECT_TRUE(at::equal(saved.router_state[i].tensor, loaded.router_state[i].tensor));
  }
}

TEST(LoadWeights, NamesTheTensorThatDoesNotFit) {
  const TinyRun run(stateful_config());
  const checkpoint::SaveRequest saved = save_request(*run.decoder);
  const auto state = by_name(saved.router_state);

  auto missing = by_name(saved.weights);
  missing.erase("model.norm.weight");
  EXPECT_THAT(message_of(*run.decoder, missing, state),
              HasSubstr("some/checkpoint: the tensor 'model.norm.weight' is missing"));

  auto unknown = by_name(saved.weights);
  unknown.emplace("model.layers.9.input_norm.weight", at::zeros({32}));
  EXPECT_THAT(message_of(*run.decoder, unknown, state),
              HasSubstr("no tensor 'model.layers.9.input_norm.weight'"));

  auto reshaped = by_name(saved.weights);
  reshaped["model.norm.weight"] = at::zeros({33});
  EXPECT_THAT(message_of(*run.decoder, reshaped, state), HasSubstr("has the shape [33]"));

  EXPECT_THAT(message_of(*run.decoder, by_name(saved.weights), {}), HasSubstr("router of layer 1"));
  auto foreign = state;
  foreign.emplace("model.layers.0.moe.router.x", at::zeros({1}));
  EXPECT_THAT(message_of(*run.decoder, by_name(saved.weights), foreign),
              HasSubstr("belong to no router"));
}

}  // namespace
}  // namespace switchyard::train
