// Defaults that depend on other fields, and rules across fields.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>
#include <string>

#include "config/yaml/other_names.h"
#include "loading.h"
#include "switchyard/config/field_table.h"

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

struct Rule {
  std::string name;
  Overrides overrides;
  std::string_view more;  // lines in model.moe
  std::string problem;
};

void PrintTo(const Rule& rule, std::ostream* out) {
  *out << rule.name;
}

class BrokenRule : public testing::TestWithParam<Rule> {};

TEST_P(BrokenRule, IsReportedOnceWithItsPosition) {
  EXPECT_THAT(problems_of_minimal(GetParam().overrides, GetParam().more),
              ElementsAre(GetParam().problem));
}

const std::vector<Rule> kRules = {
    {"TopKOfOneWithRenormalize",
     {"model.moe.router.k=1"},
     kTopK,
     "command line: model.moe.router.renormalize: with k: 1 every weight would be 1 and the router "
     "would get no gradient; set it to false"},
    {"TopKOfOneWithRenormalizeInOneLayer",
     {"model.moe.router.per_layer.2.k=1"},
     kTopK,
     "command line: model.moe.router.per_layer.2.renormalize: with k: 1 every weight would be 1 "
     "and "
     "the router would get no gradient; set it to false"},
    {"MoreExpertsPerTokenThanExperts",
     {},
     "    router:\n      type: top_k\n      k: 9\n",
     "x.yaml:17:7: model.moe.router.k: must be at most num_experts 8, got 9"},
    {"MaxExpertsAboveExperts",
     {"model.moe.router.max_experts=9"},
     "",
     "command line: model.moe.router.max_experts: must be at most num_experts 8, got 9"},
    {"PWarmupWithoutSteps",
     {"model.moe.router.p_warmup.from=1"},
     "",
     "command line: model.moe.router.p_warmup: steps is required"},
    {"KMaxAboveExperts",
     {"model.moe.router.k_max=9"},
     kAttention,
     "command line: model.moe.router.k_max: must be at most num_experts 8, got 9"},
    {"KMinAboveKMean",
     {"model.moe.router.k_min=3"},
     kAttention,
     "command line: model.moe.router.k_min: must be at most k_mean 2, got 3"},
    {"KMeanAboveKMax",
     {"model.moe.router.k_mean=2.5", "model.moe.router.k_max=2"},
     kAttention,
     "command line: model.moe.router.k_mean: must be at most k_max 2, got 2.5"},
    {"AttentionReceivedInADecoder",
     {"model.moe.router.importance=attention_received"},
     kAttention,
     "command line: model.moe.router.importance: attention_received looks at later tokens, which a "
     "decoder must not; use attention_peak or attention_entropy"},
    {"AttentionReceivedPeakInADecoder",
     {"model.moe.router.importance=attention_received_peak"},
     kAttention,
     "command line: model.moe.router.importance: attention_received_peak looks at later tokens, "
     "which a decoder must not; use attention_peak or attention_entropy"},
    {"CeilExpertsOfAnEntropy",
     {"model.moe.router.allocation=ceil_experts"},
     kAttention,
     "command line: model.moe.router.allocation: ceil_experts needs attention_peak or "
     "attention_received_peak, which are probabilities; importance is attention_entropy"},
    {"MisspeltKindOfModel",
     {"model.type=encodr", "model.moe.router.importance=attention_received"},
     kAttention,
     "command line: model.type: must be one of decoder, encoder, got 'encodr' (did you mean "
     "'encoder'?)"},
    {"MasksInADecoder",
     {"data.mask_rate=0.2"},
     "",
     "command line: data.mask_rate: only an encoder guesses masked tokens; set model.type: "
     "encoder"},
    {"NothingToGuessFrom",
     {"model.type=encoder", "data.sequence_length=3"},
     "",
     "command line: data.sequence_length: must be at least 4 for an encoder, got 3"},
    {"AnEncoderThatIsToWrite",
     {"model.type=encoder", "train.sample_prompt=Once"},
     "",
     "command line: train.sample_prompt: an encoder writes no text; leave it out or set "
     "model.type: decoder"},
    {"BudgetInADecoder",
     {"model.moe.router.allocation=budget"},
     kAttention,
     "command line: model.moe.router.allocation: budget shares experts between a token and later "
     "ones, which a decoder must not; use proportional"},
    {"HeadsDoNotDivideTheWidth",
     {"model.num_heads=3"},
     "",
     "command line: model.num_heads: hidden_size 64 is not divisible by num_heads 3; set "
     "model.head_dim to choose the width of a head"},
    {"OddHeadWidth",
     {"model.head_dim=15"},
     "",
     "command line: model.head_dim: must be even for rotary positions, got 15"},
    {"KeyValueHeadsDoNotDivideHeads",
     {"model.num_kv_heads=3"},
     "",
     "command line: model.num_kv_heads: must divide num_heads 4, got 3"},
    {"LayersOutOfRange",
     {},
     "    layers: [1, 4]\n",
     "x.yaml:15:5: model.moe.layers: layers are 0 to 3, got [1, 4]"},
    {"LayersNotAscending",
     {},
     "    layers: [1, 3, 3]\n",
     "x.yaml:15:5: model.moe.layers: must be ascending without repeats, got [1, 3, 3]"},
    {"NoLayerHasExperts",
     {"model.moe.first=4"},
     "",
     "command line: model.moe.layers: no layer of the 4 has experts; set model.moe.num_experts to "
     "0 for a dense model"},
    {"LayersOfADenseModel",
     {"model.moe.num_experts=0"},
     "    layers: [1]\n",
     "x.yaml:15:5: model.moe.layers: names MoE layers, but model.moe.num_experts is 0"},
    {"ExpertsWithoutASize",
     {"model.moe.expert_size=0"},
     "",
     "command line: model.moe.expert_size: required when model.moe.num_experts > 0 (intermediate "
     "size of an expert)"},
    {"DenseLayerWithoutASize",
     {"model.ffn_size=0", "model.moe.first=1"},
     "",
     "command line: model.ffn_size: required, because layer 0 has no experts"},
    {"BatchNotDivisible",
     {"train.global_batch_size=9", "train.micro_batch_size=4"},
     "",
     "command line: train.global_batch_size: must be a multiple of micro_batch_size 4, got 9"},
    {"BothPathAndBlend",
     {"data.blend=[{path: a}]"},
     "",
     "command line: data.blend: not together with data.path; keep one"},
    {"NeitherPathNorBlend",
     {"data.path="},
     "",
     "command line: data.path: required, but not set (folder written by `switchyard prepare`; or "
     "data.blend)"},
    {"Fp64WithGroupedMm",
     {"train.precision=fp64", "model.moe.compute=grouped_mm"},
     "",
     "command line: model.moe.compute: grouped_mm does not support precision fp64; use auto or "
     "loop"},
    {"CutlassOnACpu",
     {"train.precision=bf16", "model.moe.compute=cutlass"},
     "",
     "command line: model.moe.compute: cutlass needs precision bf16 on device cuda, got bf16 on "
     "cpu; use auto"},
    {"ThreeBetas",
     {"optim.betas=[0.9, 0.9, 0.9]"},
     "",
     "command line: optim.betas: expected two numbers, got 3"},
    {"WarmupLongerThanTheSchedule",
     {"schedule.warmup_steps=101"},
     "",
     "command line: schedule.warmup_steps: must be at most schedule.steps 100, got 101; "
     "set schedule.warmup_steps=10 (0 = no warm-up)"},
    {"DecayWithoutADecayPhase",
     {"schedule.decay_steps=5"},
     "",
     "command line: schedule.decay_steps: only warmup_stable_decay has a decay phase; the type "
     "here is cosine"},
    {"DecayDoesNotFit",
     {"schedule.type=warmup_stable_decay", "schedule.warmup_steps=60", "schedule.decay_steps=50"},
     "",
     "command line: schedule.decay_steps: with warmup_steps 60 must be at most schedule.steps 100, "
     "got 50"},
    {"ExpertsThatDoNotSplit",
     {"parallel.expert=3", "model.moe.num_experts=8"},
     "",
     "command line: parallel.expert: must divide the number of experts 8, got 3"},
    {"RanksForExpertsOfADenseModel",
     {"parallel.expert=2", "model.moe.num_experts=0"},
     "",
     "command line: parallel.expert: must divide the number of experts 0, got 2"},
};

INSTANTIATE_TEST_SUITE_P(Rules, BrokenRule, testing::ValuesIn(kRules),
                         [](const auto& rule) { return rule.param.name; });

TEST(Rules, TopKOfOneIsFineWithoutRenormalize) {
  EXPECT_THAT(
      problems_of_minimal({"model.moe.router.k=1", "model.moe.router.renormalize=false"}, kTopK),
      IsEmpty());
}

TEST(Rules, RouterOfADenseModelIsNotJudged) {
  EXPECT_THAT(problems_of_minimal({"model.moe.num_experts=0"}, "    router: {type: top_k, k: 4}\n"),
              IsEmpty());
}

TEST(Rules, ModelOfMoeLayersAloneNeedsNoDenseSize) {
  EXPECT_THAT(problems_of_minimal({"model.ffn_size=0"}), IsEmpty());
}

TEST(Rules, BlendReplacesThePath) {
  const Config config =
      load_minimal({"data.path=", "data.blend=[{path: a, weight: 2}, {path: b}]"}).config;
  EXPECT_THAT(config.data.blend, ElementsAre(BlendItem{"a", 2.0}, BlendItem{"b", 1.0}));
}

TEST(Rules, MissingKeysAreNamedWithTheirMeaning) {
  EXPECT_THAT(
      problems_of("data: {path: d}\nmodel: {hidden_size: 64, num_heads: 4, ffn_size: 8}\n"),
      ElementsAre("x.yaml: run.dir: required, but not set (run folder that will hold logs, "
                  "checkpoints and samples; must not hold a run yet)",
                  "x.yaml: model.num_layers: required, but not set (blocks of attention and "
                  "MLP)",
                  "x.yaml: train.steps: required, but not set (optimizer steps)"));
}

TEST(Rules, ASetOfABlendThatTheRunWouldNeverReadIsRefused) {
  const std::string steps = "train.steps=100";
  EXPECT_THAT(problems_of_minimal({"data.path=", steps, "train.global_batch_size=8",
                                   "data.blend=[{path: a, weight: 140000}, {path: b}]"}),
              ElementsAre(testing::HasSubstr(
                  "command line: data.blend: of the run's 800 samples (train.steps x "
                  "train.global_batch_size) none would come from 'b', whose weight is 1")));
  EXPECT_THAT(problems_of_minimal({"data.path=", steps, "train.global_batch_size=8",
                                   "data.blend=[{path: a, weight: 1590}, {path: b}]"}),
              IsEmpty());
}

TEST(Rules, ATildeInAPathIsRefusedWithThePathThatWasMeant) {
  ::setenv("HOME", "/home/me", 1);
  EXPECT_THAT(problems_of_minimal({"run.dir=~/x", "data.path=~"}),
              ElementsAre(testing::HasSubstr("command line: run.dir: '~/x': shells expand a ~ only "
                                             "where a word begins; write /home/me/x (or ./~/x)"),
                          testing::HasSubstr("command line: data.path: '~'")));
  EXPECT_THAT(
      problems_of_minimal({"data.path=", "data.blend=[{path: ~/a}]", "run.from=~/b"}),
      ElementsAre(testing::HasSubstr("run.from: '~/b'"), testing::HasSubstr("data.blend: '~/a'")));
  EXPECT_THAT(problems_of_minimal({"run.dir=a~b", "data.path=./~/x"}), IsEmpty());
  EXPECT_THAT(problems_of("extends: ~/base.yaml\n"),
              testing::Contains(testing::HasSubstr("extends: '~/base.yaml'")));
}

TEST(Rules, AWrongPresetIsOneProblemNotOneForEveryKeyItWouldHaveSet) {
  EXPECT_THAT(problems_of("run: {dir: r}\ndata: {path: d}\ntrain: {steps: 5}\n"
                          "model: {preset: huang-3b}\n"),
              ElementsAre(testing::HasSubstr("did you mean 'huang-3.5b'?")));
}

TEST(Rules, TheHintOfABrokenRelationIsNotAListOfKeys) {
  try {
    (void)load_minimal({"train.steps=2", "schedule.warmup_steps=100"});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.problems(), ElementsAre(testing::HasSubstr("set schedule.warmup_steps=0")));
    EXPECT_THAT(error.hint(), testing::HasSubstr("key.sub=value on the command line"));
  }
}

TEST(Rules, AnAbbreviatedKeyFindsTheWholeOne) {
  EXPECT_THAT(problems_of_minimal(
                  {"optim.lr=1", "optim.wd=1", "lr=1", "data.seq_len=4", "schedule.warmup=3"}),
              ElementsAre(testing::HasSubstr("did you mean 'learning_rate'?"),
                          testing::HasSubstr("did you mean 'weight_decay'?"),
                          testing::HasSubstr("did you mean 'optim.learning_rate'?"),
                          testing::HasSubstr("did you mean 'sequence_length'?"),
                          testing::HasSubstr("did you mean 'warmup_steps'?")));
}

TEST(Rules, WhatOtherFrameworksCallAKeyOrAValueFindsOurs) {
  const auto hints = [](const std::vector<std::string>& ours) {
    std::vector<testing::Matcher<std::string>> matchers;
    for (const std::string& name : ours) {
      matchers.push_back(testing::HasSubstr("did you mean '" + name + "'?"));
    }
    return testing::ElementsAreArray(matchers);
  };
  EXPECT_THAT(problems_of_minimal({"train.batch_size=4", "train.max_steps=9", "steps=9",
                                   "model.d_model=8", "model.moe.top_k=2", "optim.LR=1",
                                   "train.device=gpu", "train.precision=bfloat16"}),
              hints({"train.global_batch_size", "train.steps", "train.steps", "model.hidden_size",
                     "model.moe.router.k", "learning_rate", "cuda", "bf16"}));
  for (const auto& [theirs, ours] : other_key_names()) {
    EXPECT_NE(find_field(ours), nullptr) << ours << ", called " << theirs << " elsewhere";
  }
}

TEST(Rules, WrongValueDrawsNoSecondErrorAboutTheSameKey) {
  EXPECT_THAT(problems_of_minimal({"train.micro_batch_size=0", "train.steps=x",
                                   "model.moe.num_experts=-1", "model.num_heads=none"}),
              testing::SizeIs(4));
}

}  // namespace
}  // namespace switchyard::config
