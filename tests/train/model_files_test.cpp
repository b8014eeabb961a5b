#include "switchyard/train/model_files.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/counting_allocator.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/model/parameter_counts.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using checkpoint::NamedTensor;
using checkpoint::TensorFiles;
using testing::CountingAllocator;
using ::testing::HasSubstr;

config::Config stateful_config() {
  config::Config config = tiny_config();
  config.model.moe.router = config::RouterConfig("attention_importance");
  return config;
}

std::map<std::string, at::Tensor> by_name(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> map;
  for (const NamedTensor& named : tensors) map.emplace(named.name, named.tensor);
  return map;
}

std::vector<NamedTensor> without(std::vector<NamedTensor> tensors, const std::string& name) {
  std::erase_if(tensors, [&](const NamedTensor& named) { return named.name == name; });
  return tensors;
}

std::vector<NamedTensor> with(std::vector<NamedTensor> tensors, const std::string& name,
                              const at::Tensor& tensor) {
  tensors = without(std::move(tensors), name);
  tensors.push_back({.name = name, .tensor = tensor});
  return tensors;
}

class ModelFiles : public ::testing::Test {
 protected:
  // A file of these tensors, whatever their kind.
  [[nodiscard]] TensorFiles file_of(std::vector<NamedTensor> tensors) {
    const std::string name = std::to_string(++num_files_);
    (void)checkpoint::write_files_of(0, {{.name = name, .parts = std::move(tensors)}},
                                     folder_.path());
    return {"some/checkpoint", {folder_ / name}};
  }
  template <typename Load>
  static std::string message_of(const Load& load) {
    try {
      load();
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }
  std::string weights_message(const TinyRun& run, std::vector<NamedTensor> weights) {
    return message_of([&] { load_weights(*run.decoder, file_of(std::move(weights))); });
  }
  std::string moments_message(const TinyRun& run, std::vector<NamedTensor> moments) {
    return message_of(
        [&] { load_moments(run.trainer->optimizer(), *run.decoder, file_of(std::move(moments))); });
  }
  std::string state_message(const TinyRun& run, std::vector<NamedTensor> state) {
    return message_of([&] { load_router_state(*run.decoder, file_of(std::move(state))); });
  }

  testing::TemporaryFolder folder_;
  int num_files_ = 0;
};

void expect_equal(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
  }
}

TEST_F(ModelFiles, NameEveryExpertAndProjectionByItself) {
  const TinyRun run(tiny_config());
  const auto weights = by_name(named_weights(*run.decoder));
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

TEST_F(ModelFiles, GiveBackEveryBitOfWeightsMomentsAndRouterState) {
  const TinyRun source(stateful_config());
  (void)source.train(3);
  config::Config other = stateful_config();
  other.run.seed = 8;
  const TinyRun target(other);
  ASSERT_FALSE(named_router_state(*source.decoder).empty());
  load_weights(*target.decoder, file_of(named_weights(*source.decoder)));
  load_router_state(*target.decoder, file_of(named_router_state(*source.decoder)));
  load_moments(target.trainer->optimizer(), *target.decoder,
               file_of(named_moments(source.trainer->optimizer())));
  expect_equal(named_weights(*target.decoder), named_weights(*source.decoder));
  expect_equal(named_router_state(*target.decoder), named_router_state(*source.decoder));
  expect_equal(named_moments(target.trainer->optimizer()),
               named_moments(source.trainer->optimizer()));
  EXPECT_GT(source.trainer->optimizer().moments()[0].second.abs().sum().item<float>(), 0.0F);
}

TEST_F(ModelFiles, WhatTheForwardPassReadsIsTheLoadedMasterRounded) {
  const TinyRun source(tiny_config("bf16"));
  config::Config other = tiny_config("bf16");
  other.run.seed = 8;
  const TinyRun target(other);
  load_weights(*target.decoder, file_of(named_weights(*source.decoder)));
  const auto a = source.decoder->parameters();
  const auto b = target.decoder->parameters();
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(at::equal(a[i]->value.detach(), b[i]->value.detach())) << a[i]->name;
  }
}

TEST_F(ModelFiles, ThatDoNotFitAreRefusedWithTheTensor) {
  const TinyRun run(stateful_config());
  const auto weights = named_weights(*run.decoder);
  EXPECT_THAT(weights_message(run, without(weights, "model.norm.weight")),
              HasSubstr("some/checkpoint: the tensor 'model.norm.weight' is missing"));
  EXPECT_THAT(
      weights_message(run, with(weights, "model.layers.9.input_norm.weight", at::zeros({32}))),
      HasSubstr("no tensor 'model.layers.9.input_norm.weight'"));
  EXPECT_THAT(weights_message(run, with(weights, "model.norm.weight", at::zeros({33}))),
              HasSubstr("'model.norm.weight' has the shape [33], expected [32]"));
  EXPECT_EQ(weights_message(run, weights), "no error");

  const auto moments = named_moments(run.trainer->optimizer());
  EXPECT_THAT(moments_message(run, without(moments, "model.norm.weight.exp_avg_sq")),
              HasSubstr("some/checkpoint: the tensor 'model.norm.weight.exp_avg_sq' is missing"));
  EXPECT_THAT(moments_message(run, with(moments, "x.exp_avg", at::zeros({1}))),
              HasSubstr("no tensor 'x.exp_avg'"));
  EXPECT_EQ(moments_message(run, moments), "no error");

  const auto state = named_router_state(*run.decoder);
  EXPECT_THAT(state_message(run, {}), HasSubstr("some/checkpoint: router of layer 1"));
  EXPECT_THAT(state_message(run, with(state, "model.layers.0.moe.router.x", at::zeros({1}))),
              HasSubstr("belong to no router"));
  EXPECT_EQ(state_message(run, state), "no error");
}

TEST_F(ModelFiles, ThatDoNotFitChangeNoWeight) {
  const TinyRun source(tiny_config());
  config::Config other = tiny_config();
  other.run.seed = 8;
  const TinyRun target(other);
  const std::vector<at::Tensor> before = target.weights();
  EXPECT_NE(weights_message(target, without(named_weights(*source.decoder), "model.norm.weight")),
            "no error");
  const std::vector<at::Tensor> after = target.weights();
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
}

TEST_F(ModelFiles, AreLoadedWithoutASecondCopyOfTheModel) {
  config::Config config = tiny_config("bf16");
  config.model.hidden_size = 256;
  config.model.ffn_size = 8192;  // 25 MB of masters
  const TinyRun run(config);
  const TensorFiles files = file_of(named_weights(*run.decoder));
  const CountingAllocator counter;
  const std::int64_t before = CountingAllocator::live_bytes;
  CountingAllocator::peak_bytes = before;
  load_weights(*run.decoder, files);
  EXPECT_LE(CountingAllocator::peak_bytes - before,
            static_cast<std::int64_t>(checkpoint::kStagingBytes));
}

}  // namespace
}  // namespace switchyard::train
