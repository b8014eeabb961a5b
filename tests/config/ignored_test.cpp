#include "switchyard/config/ignored.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "config/loading.h"

namespace switchyard::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> ignored_of(const Overrides& overrides) {
  return ignored_settings(load_minimal(overrides).config);
}

TEST(IgnoredSettings, WhatSaysNothingButDefaultsIsSilent) {
  for (const std::string type :
       {"top_p", "top_k", "attention_importance", "relu", "expert_threshold"}) {
    const Config config = load_minimal({"model.moe.router.type=" + type}).config;
    EXPECT_THAT(ignored_settings(config), IsEmpty()) << type;
    // A run's file gives every key a value.
    EXPECT_THAT(ignored_settings(load_text(to_yaml(config), "x.yaml", {}).config), IsEmpty());
  }
  EXPECT_THAT(ignored_of({"model.type=encoder"}), IsEmpty());
}

TEST(IgnoredSettings, EachNamesWhatSwitchedItOff) {
  struct Case {
    const char* off;
    const char* setting;
    const char* on;  // with which it is read
    const char* reason;
  };
  const std::vector<Case> cases = {
      {"schedule.type=constant", "schedule.final_ratio=0.2", "schedule.type=cosine",
       "schedule.type is constant"},
      {"model.moe.loss.load_balance=0", "model.moe.loss.scope=sequence",
       "model.moe.loss.load_balance=1e-2", "load_balance is 0"},
      {"model.moe.loss.load_balance=0", "model.moe.loss.normalize=assignments",
       "model.moe.loss.load_balance=1e-2", "load_balance is 0"},
      {"model.type=encoder", "train.sample_every=5", "model.type=decoder", "writes no text"},
      {"model.type=encoder", "train.sample_tokens=5", "model.type=decoder", "writes no text"},
      {"parallel.expert=1", "parallel.exchange_chunks=2", "parallel.expert=4",
       "parallel.expert is above 1"},
      {"model.moe.router.target_k=0", "model.moe.router.control=layer",
       "model.moe.router.target_k=2", "target_k is set"},
      {"model.moe.router.target_k=0", "model.moe.router.control_gains=[0.1, 0.1]",
       "model.moe.router.target_k=2", "target_k is set"},
  };
  for (const Case& each : cases) {
    const std::string setting = each.setting;
    const std::string key = setting.substr(0, setting.find('='));
    EXPECT_THAT(ignored_of({each.off, setting}),
                ElementsAre(AllOf(HasSubstr(key), HasSubstr(each.reason))))
        << setting;
    EXPECT_THAT(ignored_of({each.on, setting}), IsEmpty()) << setting;
  }
}

TEST(IgnoredSettings, OfOneLayersRouterAreNamedByThatLayer) {
  EXPECT_THAT(ignored_of({"model.moe.router.target_k=2", "model.moe.router.per_layer.1.target_k=0",
                          "model.moe.router.per_layer.1.control=layer"}),
              ElementsAre(HasSubstr("model.moe.router.per_layer.1.control does nothing")));
}

TEST(IgnoredSettings, TheMeanOfAnAllocationThatHasNone) {
  const Overrides peak = {"model.moe.router.type=attention_importance",
                          "model.moe.router.importance=attention_peak",
                          "model.moe.router.k_mean=3"};
  Overrides ceil = peak;
  ceil.emplace_back("model.moe.router.allocation=ceil_experts");
  EXPECT_THAT(ignored_of(ceil), ElementsAre(HasSubstr("k_mean")));
  EXPECT_THAT(ignored_of(peak), IsEmpty());
}

TEST(IgnoredSettings, ADenseModelHasNoExpertsToSpeakOf) {
  EXPECT_THAT(ignored_of({"model.moe.num_experts=0", "model.moe.loss.load_balance=0",
                          "model.moe.loss.scope=sequence"}),
              IsEmpty());
}

// 0 stands for a tenth, of which the room is asked as of any other number.
TEST(StableRate, ADecayOfZeroStepsIsATenthOfThem) {
  const Overrides zero = {"schedule.type=warmup_stable_decay", "schedule.decay_steps=0"};
  EXPECT_NO_THROW((void)load_minimal(zero));
  Overrides late = zero;
  late.emplace_back("schedule.warmup_steps=91");
  EXPECT_THAT(problems_of(kMinimal, late),
              ElementsAre(HasSubstr("with warmup_steps 91 must be at most schedule.steps 100, got "
                                    "10")));
}

}  // namespace
}  // namespace switchyard::config
