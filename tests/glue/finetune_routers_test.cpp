// What fine-tuning takes over of a checkpoint's routers: state that still means what it meant, and
// no warm-up.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>

#include "glue/finetune_fixture.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {
namespace {

constexpr std::int64_t kLayer = 1;  // the one with experts
constexpr double kFirstP = 0.4;

class FinetuneRouters : public Finetune {
 protected:
  FinetuneRouters() { options_.overrides = {"finetune.epochs=1", "finetune.max_rows=16"}; }

  // Nearly equal probabilities of four experts: p gives two, and rises.
  void pretrain_steered() const {
    config::Config config = pretraining();
    config.model.moe.router =
        config::RouterConfig(config::TopPOptions{.p = kFirstP, .target_k = 3.0});
    (void)train::pretrain(config);
  }

  void pretrain_warming_up() const {
    const config::PWarmup warmup{.from = 1.0, .steps = 100};
    config::Config config = pretraining();
    config.model.moe.router =
        config::RouterConfig(config::TopPOptions{.p = kFirstP, .p_warmup = warmup});
    config.model.moe.router_of_layer[kLayer] =
        config::RouterConfig(config::TopPOptions{.p = 0.7, .p_warmup = warmup});
    (void)train::pretrain(config);
  }

  using State = std::map<std::string, float>;
  [[nodiscard]] State state_of(const std::string& run) const {
    State state;
    const auto saved = checkpoint::Checkpoint::open(folder_ / run);
    for (const auto& [name, tensor] : saved.router_state().copies()) {
      state[name] = tensor.item<float>();
    }
    return state;
  }

  // Of the fine-tuned checkpoint.
  [[nodiscard]] State state_with(const std::string& output, const std::string& setting) {
    FinetuneOptions options = options_;
    options.output = folder_ / output;
    options.overrides.emplace_back("train.freeze_router=true");
    if (!setting.empty()) options.overrides.push_back(setting);
    (void)finetune(options);
    return state_of(output + "/sst2/seed-7");
  }

  // Of layer kLayer.
  [[nodiscard]] config::TopPOptions router() const {
    return config_of(options_, 1).model.router_at(kLayer).options.as<config::TopPOptions>();
  }

  const std::string p_ = "model.layers.1.moe.router.p";
  const std::string error_sum_ = "model.layers.1.moe.router.error_sum";
};

TEST_F(FinetuneRouters, StateThatMeansTheSameIsTakenOverBesideAnotherSetting) {
  pretrain_steered();
  const State before = state_of("run");
  ASSERT_GT(before.at(p_), kFirstP + 0.01) << "pretraining has moved it";
  ASSERT_NE(before.at(error_sum_), 0.0F);
  EXPECT_EQ(state_with("same", ""), before);
  EXPECT_EQ(state_with("bounded", "model.moe.router.max_experts=3"), before);
}

TEST_F(FinetuneRouters, StateThatMeansSomethingElseStartsAfresh) {
  pretrain_steered();
  const State target = state_with("target", "model.moe.router.target_k=1");
  EXPECT_EQ(target.at(p_), static_cast<float>(kFirstP));
  EXPECT_EQ(target.at(error_sum_), 0.0F);
  const State start = state_with("start", "model.moe.router={p: 0.3, target_k: 3}");
  EXPECT_EQ(start.at(p_), 0.3F);
  EXPECT_EQ(start.at(error_sum_), 0.0F);
}

TEST_F(FinetuneRouters, AWarmUpOfALayersRouterIsOverToo) {
  pretrain_warming_up();
  ASSERT_GT(state_of("run").at(p_), 0.9F) << "it had hardly begun";
  EXPECT_FALSE(router().p_warmup);
  EXPECT_EQ(router().p, 0.7) << "all else is the checkpoint's";
  const config::RouterConfig model = config_of(options_, 1).model.moe.router;
  EXPECT_FALSE(model.options.as<config::TopPOptions>().p_warmup);
  (void)finetune(options_);
  EXPECT_FALSE(state_of("out/sst2/seed-7").contains(p_)) << "it no longer moves";
}

TEST_F(FinetuneRouters, AWarmUpOfALayersRouterThatIsAskedForIsMade) {
  pretrain_warming_up();
  const std::string key = "model.moe.router.per_layer.1.p_warmup";
  options_.overrides = {key + "={from: 0.9, steps: 10}"};
  ASSERT_TRUE(router().p_warmup);
  EXPECT_EQ(router().p_warmup->from, 0.9);
  EXPECT_EQ(router().p_warmup->steps, 10);
  options_.overrides = {key + ".steps=20"};
  ASSERT_TRUE(router().p_warmup);
  EXPECT_EQ(router().p_warmup->steps, 20);
  options_.overrides.clear();
  write("settings.yaml",
        "model:\n  moe:\n    router:\n      per_layer:\n        1:\n          p_warmup: {steps: "
        "30}\n");
  options_.config_file = folder_ / "settings.yaml";
  ASSERT_TRUE(router().p_warmup);
  EXPECT_EQ(router().p_warmup->steps, 30);
  const config::RouterConfig model = config_of(options_, 1).model.moe.router;
  EXPECT_FALSE(model.options.as<config::TopPOptions>().p_warmup) << "of one layer alone";
}

}  // namespace
}  // namespace switchyard::glue
