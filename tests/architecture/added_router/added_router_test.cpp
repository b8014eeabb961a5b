// A router that was added where docs/routers.md says, and nowhere else, is one like any other. The
// contract suite runs on it as well (CMakeLists.txt beside).
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "architecture/added_router/toy.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/config/options.h"
#include "switchyard/config/router.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/config/values.h"
#include "switchyard/core/file.h"
#include "switchyard/inference/generate.h"
#include "switchyard/model/decoder.h"
#include "switchyard/plan/plan.h"
#include "switchyard/routing/router.h"
#include "switchyard/train/build.h"
#include "switchyard/train/pretrain.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr const char* kYaml =
    "run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\n"
    "model: {preset: tiny, moe: {router: {type: toy}}}\n";

config::Resolved loaded(const std::vector<std::string>& overrides) {
  return config::load_text(kYaml, "x.yaml", overrides);
}

std::vector<std::string> problems(const std::vector<std::string>& overrides) {
  try {
    (void)loaded(overrides);
  } catch (const config::ConfigError& error) {
    return error.problems();
  }
  return {};
}

TEST(AddedRouter, IsReadWithItsOptionsDefaultsAndLosses) {
  const config::Resolved resolved = loaded({"model.moe.router.ceiling=2.5"});
  const config::MoeConfig& moe = resolved.config.model.moe;
  EXPECT_EQ(moe.router, config::RouterConfig(config::ToyOptions{.floor = 0.5, .ceiling = 2.5}));
  EXPECT_EQ(moe.loss.dynamic, 1e-3);
  EXPECT_EQ(moe.loss.normalize, "assignments");
  // The preset's option is dropped; what is written is read back.
  EXPECT_THAT(resolved.dropped, ElementsAre(HasSubstr("router type toy has no such option")));
  EXPECT_EQ(config::load_text(config::to_yaml(resolved.config), "again", {}).config,
            resolved.config);
  EXPECT_THAT(config::fields_of(resolved.config),
              Contains(Pair("model.moe.router.ceiling", "2.5")));
}

TEST(AddedRouter, MayShareAnOptionWithAnother) {
  const auto router = [&](const char* type) {
    // The option comes from an earlier source than the type.
    const std::string yaml =
        "run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\n"
        "model: {preset: tiny, moe: {router: {type: top_p, max_experts: 3}}}\n";
    const std::vector<std::string> overrides{std::string("model.moe.router.type=") + type};
    return config::load_text(yaml, "x.yaml", overrides).config.model.moe.router;
  };
  EXPECT_EQ(router("toy").options.as<config::ToyOptions>().max_experts, 3);
  EXPECT_EQ(router("top_p").options.as<config::TopPOptions>().max_experts, 3);
  EXPECT_THAT(problems({"model.moe.router.max_experts=9"}),
              ElementsAre("command line: model.moe.router.max_experts: must be at most num_experts "
                          "4, got 9"));
  EXPECT_THAT(config::reference_text(), HasSubstr("only for top_p, toy\n"));
}

TEST(AddedRouter, IsRefusedWithMistakesInItsOptions) {
  EXPECT_THAT(
      problems({"model.moe.router.floor=3"}),
      ElementsAre("command line: model.moe.router.floor: must be at most ceiling 1, got 3"));
  EXPECT_THAT(
      problems({"model.moe.router.per_layer.1.ceiling=0.25"}),
      ElementsAre("command line: model.moe.router.per_layer.1.floor: must be at most ceiling "
                  "0.25, got 0.5"));
  EXPECT_THAT(problems({"model.moe.router.flor=0.5"}),
              ElementsAre(HasSubstr("unknown key 'flor' (did you mean 'floor'?)")));
  EXPECT_THAT(problems({"model.moe.router.floor=-1"}),
              ElementsAre(HasSubstr("must be > 0, got -1")));
  EXPECT_THAT(problems({"model.moe.router.k=2"}),
              ElementsAre(HasSubstr("an option of router type top_k, but the type here is toy")));
  EXPECT_THAT(problems({"model.moe.router.renormalize=true"}),
              ElementsAre(HasSubstr("but the type here is toy")));
  EXPECT_THAT(problems({"model.moe.router.type=top_p", "model.moe.router.floor=0.5"}),
              ElementsAre(HasSubstr("an option of router type toy, but the type here is top_p")));
}

TEST(AddedRouter, IsInTheReferenceAndTheHelp) {
  const std::string text = config::reference_text();
  EXPECT_THAT(text, HasSubstr("top_k, top_p, toy"));
  EXPECT_THAT(text, HasSubstr("model.moe.router.floor\n"
                              "      where the level of an expert that is taken starts\n"
                              "      number, default: 0.5; > 0; unit: uniform probabilities; only "
                              "for toy\n"));
  EXPECT_THAT(text, HasSubstr("1e-3 for toy, 1e-4 for top_p, else 0"));
  EXPECT_THAT(config::reference_markdown(), HasSubstr("(`toy` only)"));
  EXPECT_THAT(config::help_of(*config::find_verb("pretrain")),
              HasSubstr("model.moe.router.ceiling"));
}

TEST(AddedRouter, TellsAPlanHowManyExpertsToExpect) {
  const auto all = plan::suppose_experts_per_token(loaded({}).config.model, {});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].mean, 2.0);
  EXPECT_EQ(all[0].reason, "half of the experts are above the level");
  EXPECT_EQ(all[1].mean, 4.0);
  EXPECT_EQ(all[1].reason, "nearly all experts are above the floor");
}

config::Config toy_config(bool recompute = false) {
  config::Config config = tiny_config();
  config.model.moe.router = config::RouterConfig(config::ToyOptions{});
  config.model.moe.layers = {0, 1};
  config.train.recompute = recompute;
  return config;
}

TEST(AddedRouter, TrainsWithAVaryingNumberOfExpertsStateAndNoise) {
  const TinyRun run(toy_config());
  const auto steps = run.train(12);
  std::set<double> means;
  std::set<std::int64_t> counts;
  for (const telemetry::StepSums& step : steps) {
    ASSERT_FALSE(step.skipped);
    means.insert(telemetry::experts_per_token(step));
    const auto& histogram_E1 = step.layers[0].k_histogram_E1;
    for (std::size_t k = 0; k < histogram_E1.size(); ++k) {
      if (histogram_E1[k] > 0) counts.insert(static_cast<std::int64_t>(k));
    }
  }
  EXPECT_LT(steps.back().lm_loss, steps.front().lm_loss);
  EXPECT_GT(means.size(), 6U);
  EXPECT_TRUE(counts.contains(0)) << "noise takes all experts from some tokens";
  EXPECT_GE(counts.size(), 3U);
  const float level = run.decoder->routers().at(1)->state().at("level").item<float>();
  EXPECT_GT(level, 0.75F);
  EXPECT_LT(level, 1.0F);
}

TEST(AddedRouter, TrainsToTheSameBitsWhenBlocksAreComputedAgain) {
  const TinyRun plain(toy_config());
  const TinyRun recomputed(toy_config(/*recompute=*/true));
  (void)plain.train(3);
  (void)recomputed.train(3);
  const auto expected = plain.weights();
  const auto actual = recomputed.weights();
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(actual[i], expected[i]));
}

TEST(AddedRouter, ResumesBitForBitAndGenerates) {
  TinyRunFolder tiny;
  tiny.config.model.moe.router = config::RouterConfig(config::ToyOptions{});
  tiny.config.schedule.steps = tiny.config.train.steps;
  tiny.config.train.checkpoint_every = 8;
  tiny.config.train.keep_last = 10;
  const auto folder_of = [&](const std::string& run) {
    return tiny.folder / (run + "/checkpoints/step-000020");
  };
  for (const char* run : {"whole", "stopped"}) {
    tiny.config.run.dir = (tiny.folder / run).string();
    (void)pretrain(tiny.config);
  }
  for (const fs::path& step : checkpoint::steps_in(tiny.folder / "stopped/checkpoints")) {
    if (checkpoint::step_of(step) > 8) fs::remove_all(step);
  }
  ASSERT_FALSE(fs::exists(folder_of("stopped")));
  const std::string resolved = (tiny.folder / "stopped/config.resolved.yaml").string();
  (void)resume(config::load(resolved, {}).config, {});
  for (const char* name :
       {"model.safetensors", "optimizer.safetensors", "router_state.safetensors"}) {
    EXPECT_EQ(read_file(folder_of("stopped") / name), read_file(folder_of("whole") / name)) << name;
  }

  const LoadedModel model = load_model(tiny.folder / "stopped");
  EXPECT_GT(model.decoder->routers().at(1)->state().at("level").item<float>(), 0.9F);
  std::set<double> experts;
  const inference::Generation text = inference::generate(
      *model.decoder, model.tokenizer, "line",
      {.sampling = {.temperature = 1.0, .seed = 11},
       .max_tokens = 24,
       .sequence_length = model.config.data.sequence_length},
      [&](const inference::GeneratedToken& token) { experts.insert(token.experts); });
  EXPECT_GT(text.num_tokens, 0);
  EXPECT_GE(experts.size(), 2U) << "all tokens got the same number of experts";
  EXPECT_GT(*experts.begin(), 0.0) << "noise has no place outside training";
}

}  // namespace
}  // namespace switchyard::train
