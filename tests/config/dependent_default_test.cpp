// Defaults that depend on other fields.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "loading.h"

namespace switchyard::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kTopK = "    router: {type: top_k}\n";
constexpr std::string_view kAttention = "    router: {type: attention_importance}\n";

TEST(DependentDefault, TopP) {
  const MoeConfig moe = load_minimal().config.model.moe;
  EXPECT_FALSE(moe.router.renormalize);
  EXPECT_EQ(moe.loss.normalize, "tokens");
  EXPECT_EQ(moe.loss.dynamic, 1e-4);
  EXPECT_EQ(moe.loss.load_balance, 1e-2);
}

TEST(DependentDefault, TopK) {
  const MoeConfig moe = load_minimal({}, kTopK).config.model.moe;
  EXPECT_TRUE(moe.router.renormalize);
  EXPECT_EQ(moe.loss.normalize, "assignments");
  EXPECT_EQ(moe.loss.dynamic, 0);
}

// Both balance the load by themselves.
TEST(DependentDefault, ReluAndExpertThreshold) {
  for (const char* type : {"relu", "expert_threshold"}) {
    const std::string router = std::string("    router: {type: ") + type + "}\n";
    const MoeConfig moe = load_minimal({}, router).config.model.moe;
    EXPECT_EQ(moe.loss.load_balance, 0.0) << type;
    EXPECT_EQ(moe.loss.dynamic, 0.0) << type;
    EXPECT_FALSE(moe.router.renormalize) << type;
  }
}

TEST(DependentDefault, AttentionImportance) {
  const MoeConfig moe = load_minimal({}, kAttention).config.model.moe;
  EXPECT_FALSE(moe.router.renormalize);
  EXPECT_EQ(attention_importance(moe.router).k_max, 8);
  EXPECT_EQ(moe.loss.normalize, "assignments");
}

TEST(DependentDefault, ImportanceFollowsTheKindOfModel) {
  const auto importance = [](const Overrides& overrides) {
    return attention_importance(load_minimal(overrides, kAttention).config.model.moe.router)
        .importance;
  };
  EXPECT_EQ(importance({}), "attention_entropy");
  EXPECT_EQ(importance({"model.type=encoder"}), "attention_received");
  EXPECT_EQ(importance({"model.type=encoder", "model.moe.router.importance=attention_peak"}),
            "attention_peak");
}

TEST(KindOfModel, AnEncoderMayLookBothWays) {
  for (const char* option :
       {"model.moe.router.importance=attention_received",
        "model.moe.router.importance=attention_received_peak", "model.moe.router.allocation=budget",
        "data.mask_rate=0.2", "data.mask_whole_words=true"}) {
    EXPECT_THAT(problems_of_minimal({"model.type=encoder", option}, kAttention), IsEmpty())
        << option;
  }
}

TEST(KindOfModel, CeilExpertsNeedsNoMean) {
  EXPECT_THAT(
      problems_of_minimal({"model.moe.router.importance=attention_peak",
                           "model.moe.router.allocation=ceil_experts", "model.moe.router.k_min=3"},
                          kAttention),
      IsEmpty());
}

TEST(DependentDefault, ExplicitValuesStay) {
  const MoeConfig moe =
      load_minimal({"model.moe.loss.dynamic=0", "model.moe.loss.normalize=assignments",
                    "model.moe.router.renormalize=true"})
          .config.model.moe;
  EXPECT_EQ(moe.loss.dynamic, 0);
  EXPECT_EQ(moe.loss.normalize, "assignments");
  EXPECT_TRUE(moe.router.renormalize);
}

TEST(DependentDefault, HeadsFollowTheWidth) {
  const ModelConfig model = load_minimal().config.model;
  EXPECT_EQ(model.num_kv_heads, 4);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(load_minimal({"model.head_dim=24", "model.num_kv_heads=2"}).config.model.head_dim, 24);
}

TEST(DependentDefault, ScheduleEndsWithTheRun) {
  EXPECT_EQ(load_minimal().config.schedule.steps, 100);
  EXPECT_EQ(load_minimal({"schedule.steps=0"}).config.schedule.steps, 100);
  EXPECT_EQ(load_minimal({"schedule.steps=50"}).config.schedule.steps, 50);
  EXPECT_EQ(load_minimal().config.schedule.decay_steps, 0);
  EXPECT_EQ(load_minimal({"schedule.type=warmup_stable_decay"}).config.schedule.decay_steps, 10);
}

TEST(DependentDefault, StrideNamesTheLayers) {
  EXPECT_THAT(load_minimal().config.model.moe.layers, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(load_minimal({"model.moe.every=2", "model.moe.first=1"}).config.model.moe.layers,
              ElementsAre(1, 3));
  EXPECT_THAT(load_minimal({"model.moe.num_experts=0"}).config.model.moe.layers, IsEmpty());
}

}  // namespace
}  // namespace switchyard::config
