// Which source wins, where a value comes from, and what a later source makes meaningless.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

#include "loading.h"
#include "support/temporary_folder.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/core/file.h"

namespace switchyard::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Layering : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view text) {
    const auto path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    write_file_atomically(path, text);
    return path.string();
  }
  [[nodiscard]] std::string at(const std::string& name) const { return (folder_ / name).string(); }
  [[nodiscard]] static std::vector<std::string> problems_of_file(const std::string& file) {
    try {
      (void)load(file, {});
    } catch (const ConfigError& error) {
      return error.problems();
    }
    return {};
  }

  switchyard::testing::TemporaryFolder folder_;
};

TEST_F(Layering, FileBeatsItsBaseAndTheCommandLineBeatsBoth) {
  write("base.yaml", minimal_with("optim: {learning_rate: 1, eps: 1e-7}\n"));
  const std::string file =
      write("x.yaml", "extends: base.yaml\noptim:\n  learning_rate: 2\n  weight_decay: 3\n");
  const Overrides overrides = {"optim.weight_decay=4", "train.log_every=7"};
  const Resolved resolved = load(file, overrides);
  EXPECT_EQ(resolved.config.optim.eps, 1e-7);
  EXPECT_EQ(resolved.config.optim.learning_rate, 2);
  EXPECT_EQ(resolved.config.optim.weight_decay, 4);
  EXPECT_EQ(resolved.config.optim.clip_norm, 1.0);
  EXPECT_EQ(resolved.origin_of_key.at("optim.eps"), at("base.yaml") + ":15");
  EXPECT_EQ(resolved.origin_of_key.at("optim.learning_rate"), at("x.yaml") + ":3");
  EXPECT_EQ(resolved.origin_of_key.at("optim.weight_decay"), "command line");
  EXPECT_EQ(resolved.origin_of_key.at("optim.clip_norm"), "default");
  EXPECT_EQ(resolved.origin_of_key.at("schedule.steps"), "default: train.steps");
}

TEST_F(Layering, LastOfTwoOverridesWins) {
  EXPECT_EQ(load_minimal({"train.steps=5", "train.steps=6"}).config.train.steps, 6);
}

TEST_F(Layering, ExtendsIsRelativeToItsFileAndChains) {
  write("base.yaml", minimal_with("optim: {eps: 1e-7}\n"));
  write("sub/middle.yaml", "extends: ../base.yaml\noptim: {clip_norm: 2}\n");
  const std::string file = write("sub/deep/top.yaml", "extends: ../middle.yaml\n");
  const Resolved resolved = load(file, {});
  EXPECT_EQ(resolved.config.optim.clip_norm, 2);
  EXPECT_EQ(resolved.config.optim.eps, 1e-7);
  EXPECT_EQ(resolved.origin_of_key.at("optim.clip_norm"), at("sub/middle.yaml") + ":2");
}

TEST_F(Layering, MapsMergeAndListsReplace) {
  write("base.yaml", minimal_with("    layers: [0, 1, 2]\n    router:\n"
                                  "      p_warmup: {from: 0.9, steps: 10}\n"));
  const std::string file = write("x.yaml",
                                 "extends: base.yaml\nmodel:\n  moe:\n    layers: [3]\n"
                                 "    router: {p_warmup: {steps: 20}}\n");
  const MoeConfig moe = load(file, {}).config.model.moe;
  EXPECT_THAT(moe.layers, ElementsAre(3));
  ASSERT_TRUE(top_p(moe.router).p_warmup.has_value());
  EXPECT_EQ(top_p(moe.router).p_warmup->from, 0.9);
  EXPECT_EQ(top_p(moe.router).p_warmup->steps, 20);
}

TEST_F(Layering, OverrideReachesIntoAMapAndNoneClearsIt) {
  const auto router = [](const Overrides& overrides) {
    return load_minimal(overrides, "    router: {p_warmup: {steps: 10}}\n").config.model.moe.router;
  };
  EXPECT_EQ(top_p(router({"model.moe.router.p_warmup.from=0.8"})).p_warmup->from, 0.8);
  EXPECT_EQ(top_p(router({"model.moe.router.p_warmup.from=0.8"})).p_warmup->steps, 10);
  EXPECT_FALSE(top_p(router({"model.moe.router.p_warmup=none"})).p_warmup.has_value());
  EXPECT_EQ(top_p(router({"model.moe.router={p: 0.3, max_experts: 4}"})).max_experts, 4);
}

TEST_F(Layering, CyclesAreRefusedWithTheChain) {
  write("a.yaml", "extends: b.yaml\n");
  write("b.yaml", "# b\nextends: ./a.yaml\n");
  EXPECT_THAT(problems_of_file(at("a.yaml")),
              ElementsAre(at("b.yaml") + ":2:10: extends: files extend each other: " +
                          at("a.yaml") + " -> " + at("b.yaml") + " -> " + at("a.yaml")));
  write("self.yaml", "extends: self.yaml\n");
  EXPECT_THAT(problems_of_file(at("self.yaml")), ElementsAre(HasSubstr("files extend each other")));
}

TEST_F(Layering, LongChainsAreRefused) {
  for (int i = 0; i < 30; ++i) {
    write(std::to_string(i) + ".yaml", "extends: " + std::to_string(i + 1) + ".yaml\n");
  }
  EXPECT_THAT(problems_of_file(at("0.yaml")), ElementsAre(HasSubstr("more than 16 files")));
}

TEST_F(Layering, MissingBaseIsReportedWhereItIsNamed) {
  write("quickstart.yaml", kMinimal);
  write("x.yaml", "extends: quikstart.yaml\n");
  EXPECT_THAT(
      problems_of_file(at("x.yaml")),
      ElementsAre(at("x.yaml") + ":1:10: cannot read '" + at("quikstart.yaml") +
                  "': No such file or directory (did you mean '" + at("quickstart.yaml") + "'?)"));
}

TEST_F(Layering, MissingFileAndFolderAreProblemsNotCrashes) {
  EXPECT_THAT(problems_of_file("/nonexistent/x.yaml"),
              ElementsAre("config: cannot read '/nonexistent/x.yaml': No such file or directory"));
  EXPECT_THAT(problems_of_file(folder_.path().string()), ElementsAre(HasSubstr("it is a folder")));
  EXPECT_THAT(problems_of_file("/dev/zero"), ElementsAre(HasSubstr("it is a device")));
  EXPECT_THAT(problems_of_file(write("large.yaml", std::string(300 << 10, ' '))),
              ElementsAre(HasSubstr("larger than 256 KiB")));
}

// What reads it after us finds nothing in it, or waits for ever.
TEST_F(Layering, APipeIsNeitherAConfigNorTheBaseOfOne) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ASSERT_EQ(::write(ends[1], kMinimal.data(), kMinimal.size()), std::ssize(kMinimal));
  ::close(ends[1]);
  const std::string pipe = "/dev/fd/" + std::to_string(ends[0]);
  constexpr const char* kReason = "it is a pipe, which can be read only once; write it to a file";
  EXPECT_THAT(problems_of_file(write("x.yaml", "extends: " + pipe + "\n")),
              ElementsAre(HasSubstr(kReason)));
  EXPECT_THAT(problems_of_file(pipe), ElementsAre(HasSubstr(kReason)));
  ::close(ends[0]);
}

TEST_F(Layering, ExtendsMustBeAPath) {
  EXPECT_THAT(problems_of("extends: [a, b]\n"),
              ElementsAre("x.yaml:1:10: extends: expected the path of a file, got a list"));
}

TEST_F(Layering, PresetIsTheLowestSourceWhereverItIsNamed) {
  const Overrides overrides = {"model.preset=tiny"};
  const Resolved resolved =
      load_text("run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\nmodel: {num_heads: 4}\n",
                "x.yaml", overrides);
  EXPECT_EQ(resolved.config.model.hidden_size, 32);
  EXPECT_EQ(resolved.config.model.num_heads, 4);
  EXPECT_EQ(resolved.origin_of_key.at("model.hidden_size"), "preset tiny");
  EXPECT_EQ(resolved.origin_of_key.at("model.num_heads"), "x.yaml:4");
}

TEST_F(Layering, LaterPresetReplacesTheEarlierOne) {
  const Overrides overrides = {"model.preset=tiny"};
  const Resolved resolved =
      load_text("run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\nmodel: {preset: huang-3.5b}\n",
                "x.yaml", overrides);
  EXPECT_EQ(resolved.config.model.num_layers, 2);
  EXPECT_EQ(resolved.config.model.vocab_size, 0);
}

TEST_F(Layering, UnknownPresetListsTheKnown) {
  EXPECT_THAT(problems_of_minimal({"model.preset=huang-3.5"}),
              ElementsAre("command line: model.preset: must be one of huang-3.5b, "
                          "huang-3.5b-every2, tiny, got 'huang-3.5' (did you mean 'huang-3.5b'?)"));
}

// --- options of another router ---

constexpr std::string_view kTopP = "    router: {type: top_p, p: 0.6, max_experts: 4}\n";

TEST_F(Layering, NewRouterTypeDropsEarlierOptionsItDoesNotKnow) {
  const Resolved resolved = load_minimal({"model.moe.router.type=top_k"}, kTopP);
  EXPECT_EQ(resolved.config.model.moe.router, RouterConfig(TopKOptions{}, true));
  EXPECT_THAT(resolved.dropped,
              ElementsAre("model.moe.router.max_experts = 4 (x.yaml:15): router type top_k has no "
                          "such option",
                          "model.moe.router.p = 0.6 (x.yaml:15): router type top_k has no such "
                          "option"));
}

TEST_F(Layering, OptionsOfTheNewTypeMayComeInTheSameSource) {
  const auto router = load_minimal({"model.moe.router.k=3", "model.moe.router.type=top_k"}, kTopP)
                          .config.model.moe.router;
  EXPECT_EQ(router.type, "top_k");
  EXPECT_EQ(top_k(router).k, 3);
}

TEST_F(Layering, OptionOfAnotherTypeInTheSameSourceIsAnError) {
  EXPECT_THAT(problems_of_minimal({}, "    router: {type: top_p, k: 3}\n"),
              ElementsAre("x.yaml:15:27: model.moe.router.k: an option of router type top_k, but "
                          "the type here is top_p (x.yaml:15)"));
}

TEST_F(Layering, OptionOfTheOldTypeInALaterSourceIsAnError) {
  EXPECT_THAT(problems_of_minimal({"model.moe.router.type=top_k", "model.moe.router.p=0.5"}, kTopP),
              ElementsAre("command line: model.moe.router.p: an option of router type top_p, but "
                          "the type here is top_k (command line)"));
}

TEST_F(Layering, OptionWithoutATypeIsJudgedByTheDefaultType) {
  EXPECT_THAT(problems_of_minimal({"model.moe.router.k_min=1"}),
              ElementsAre("command line: model.moe.router.k_min: an option of router type "
                          "attention_importance, but the type here is top_p (default)"));
}

TEST_F(Layering, OptionKnownToBothTypesStays) {
  const Resolved resolved =
      load_minimal({"model.moe.router.type=top_k"}, "    router: {renormalize: false, p: 0.5}\n");
  EXPECT_FALSE(resolved.config.model.moe.router.renormalize);
  EXPECT_EQ(resolved.dropped.size(), 1U);
}

TEST_F(Layering, DroppedOptionDoesNotComeBack) {
  write("base.yaml", minimal_with("    router: {type: top_k, k: 4}\n"));
  write("middle.yaml", "extends: base.yaml\nmodel: {moe: {router: {type: top_p}}}\n");
  const std::string file =
      write("x.yaml", "extends: middle.yaml\nmodel: {moe: {router: {type: top_k}}}\n");
  EXPECT_EQ(top_k(load(file, {}).config.model.moe.router).k, 2);
}

TEST_F(Layering, PresetOptionsAreDroppedLikeAnyOther) {
  const Overrides overrides = {"model.moe.router.type=top_k"};
  const Resolved resolved =
      load_text("run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\nmodel: {preset: tiny}\n",
                "x.yaml", overrides);
  EXPECT_THAT(resolved.dropped, ElementsAre("model.moe.router.p = 0.4 (preset tiny): router type "
                                            "top_k has no such option"));
}

TEST_F(Layering, FixedAndSteeredPTakeEachOthersPlaceInALaterSource) {
  const auto options = [](const Resolved& resolved) {
    return resolved.config.model.moe.router.options.as<TopPOptions>();
  };
  constexpr std::string_view kSteered = "    router: {p: 0.6, target_k: 2}\n";
  const Resolved fixed = load_minimal({"model.moe.router.p=0.3"}, kSteered);
  EXPECT_EQ(options(fixed).target_k, 0.0);
  EXPECT_EQ(options(fixed).p, 0.3);
  EXPECT_THAT(fixed.dropped, ElementsAre("model.moe.router.target_k = 2 (x.yaml:15): "
                                         "model.moe.router.p is set later"));
  const Resolved warmed = load_minimal({"model.moe.router.p_warmup={steps: 10}"}, kSteered);
  EXPECT_EQ(options(warmed).target_k, 0.0);
  EXPECT_EQ(options(warmed).p_warmup->steps, 10);

  constexpr std::string_view kWarmed = "    router: {p: 0.6, p_warmup: {steps: 10}}\n";
  const Resolved steered = load_minimal({"model.moe.router.target_k=3"}, kWarmed);
  EXPECT_EQ(options(steered).target_k, 3.0);
  EXPECT_EQ(options(steered).p, 0.6);
  EXPECT_FALSE(options(steered).p_warmup);

  // Both in one source: where p begins. What is switched off takes no place and leaves none.
  const Resolved both =
      load_minimal({"model.moe.router.p=0.3", "model.moe.router.target_k=3"}, kSteered);
  EXPECT_EQ(options(both).target_k, 3.0);
  EXPECT_THAT(both.dropped, IsEmpty());
  EXPECT_TRUE(options(load_minimal({"model.moe.router.target_k=0"}, kWarmed)).p_warmup);
  EXPECT_EQ(options(load_minimal({"model.moe.router.p_warmup=none"}, kSteered)).target_k, 2.0);
  EXPECT_THAT(load_minimal({"model.moe.router.p=0.3"}, "    router: {target_k: 0}\n").dropped,
              IsEmpty());
  // Of a key that is set twice the last counts.
  EXPECT_TRUE(
      options(load_minimal({"model.moe.router.target_k=3", "model.moe.router.target_k=0"}, kWarmed))
          .p_warmup);
}

// Without its own target the layer would be steered to the model's.
TEST_F(Layering, ALayersPLeavesItsTarget) {
  const Resolved resolved = load_minimal({"model.moe.router.per_layer.1.p=0.3"},
                                         "    router: {target_k: 2, per_layer: {1: {target_k: 4, "
                                         "control: layer}}}\n");
  EXPECT_EQ(resolved.config.model.moe.router_of_layer.at(1).options.as<TopPOptions>().target_k,
            4.0);
  EXPECT_THAT(resolved.dropped, IsEmpty());
}

TEST_F(Layering, ARunsFileSpellsOutDefaultsThatAnotherTypeDoesNotTake) {
  const Resolved run = load_minimal({}, "    router: {type: top_p, p: 0.6}\n");
  const std::string file = write("config.resolved.yaml", to_yaml(run.config));
  const Overrides type = {"model.moe.router.type=relu"};
  const Resolved resolved = load(file, type);
  EXPECT_EQ(resolved.config.model.moe.router.options.as<ReluOptions>().target_k, 2.0);
  EXPECT_THAT(resolved.dropped, ::testing::Contains(HasSubstr("target_k = 0")));
  write("y.yaml", "extends: config.resolved.yaml\nmodel: {moe: {router: {type: top_k}}}\n");
  EXPECT_TRUE(load(at("y.yaml"), {}).config.model.moe.router.renormalize) << "top_k's default";
}

TEST_F(Layering, WrongTypeDoesNotDrawErrorsAboutItsOptions) {
  EXPECT_THAT(
      problems_of_minimal({"model.moe.router.type=topk", "model.moe.router.k=3"}),
      ElementsAre(
          "command line: model.moe.router.type: must be one of top_k, top_p, "
          "attention_importance, relu, expert_threshold, got 'topk' (did you mean 'top_k'?)"));
}

// --- where the experts are ---

TEST_F(Layering, LaterStrideReplacesAnEarlierList) {
  const Resolved resolved = load_minimal({"model.moe.every=2"}, "    layers: [1, 3]\n");
  EXPECT_THAT(resolved.config.model.moe.layers, ElementsAre(0, 2));
  EXPECT_THAT(resolved.dropped,
              ElementsAre("model.moe.layers = [1, 3] (x.yaml:15): model.moe.every is set later"));
}

TEST_F(Layering, LaterListReplacesAnEarlierStride) {
  const Resolved resolved = load_minimal({"model.moe.layers=[3]"}, "    every: 2\n    first: 1\n");
  EXPECT_THAT(resolved.config.model.moe.layers, ElementsAre(3));
  EXPECT_EQ(resolved.dropped.size(), 2U);
}

TEST_F(Layering, ListAndStrideInOneSourceAreAnError) {
  EXPECT_THAT(problems_of_minimal({}, "    every: 2\n    layers: [1]\n"),
              ElementsAre("x.yaml:16:5: model.moe.layers: says the same as 'model.moe.every'; keep "
                          "one"));
}

// --- routers of single layers ---

TEST_F(Layering, LayerOptionsLieOnTopOfTheModels) {
  const Resolved resolved = load_minimal({"model.moe.router.per_layer.2.max_experts=3"},
                                         "    router:\n      p: 0.5\n      per_layer:\n"
                                         "        \"1\": {p: 0.7}\n        2:\n          p: 0.8\n");
  const ModelConfig& model = resolved.config.model;
  EXPECT_EQ(top_p(model.router_at(0)).p, 0.5);
  EXPECT_EQ(top_p(model.router_at(1)).p, 0.7);
  EXPECT_FALSE(top_p(model.router_at(1)).max_experts.has_value());
  EXPECT_EQ(top_p(model.router_at(2)).p, 0.8);
  EXPECT_EQ(top_p(model.router_at(2)).max_experts, 3);
  EXPECT_EQ(resolved.origin_of_key.at("model.moe.router.per_layer.1.p"), "x.yaml:18");
  EXPECT_EQ(resolved.origin_of_key.at("model.moe.router.per_layer.2.max_experts"), "command line");
}

TEST_F(Layering, LayerOfAnotherTypeSharesOnlyWhatBothKnow) {
  const ModelConfig model =
      load_minimal({"model.moe.router.per_layer={3: {type: top_k, k: 3}}"}, kTopP).config.model;
  EXPECT_EQ(model.router_at(3), RouterConfig(TopKOptions{.k = 3}, true));
  EXPECT_EQ(top_p(model.router_at(0)).p, 0.6);
}

TEST_F(Layering, ExplicitRenormalizeReachesLayersOfEveryType) {
  const ModelConfig model = load_minimal({"model.moe.router.per_layer.1.type=top_k"},
                                         "    router: {renormalize: false}\n")
                                .config.model;
  EXPECT_FALSE(model.router_at(1).renormalize);
}

TEST_F(Layering, NewModelTypeDropsLayerOptionsToo) {
  const Resolved resolved =
      load_minimal({"model.moe.router.type=top_k"}, "    router: {per_layer: {2: {p: 0.7}}}\n");
  EXPECT_THAT(resolved.dropped, ElementsAre("model.moe.router.per_layer.2.p = 0.7 (x.yaml:15): "
                                            "router type top_k has no such option"));
  EXPECT_THAT(resolved.config.model.moe.router_of_layer, IsEmpty());
}

TEST_F(Layering, LayerMistakesAreReportedWithTheirKeys) {
  EXPECT_THAT(
      problems_of_minimal({}, R"(    router:
      per_layer:
        one: {p: 0.5}
        1: {k: 3}
        2: 0.5
        3: {pp: 0.5, per_layer: {}}
        0: {p: 2}
)"),
      ElementsAre(
          "x.yaml:17:9: model.moe.router.per_layer: expected the number of a layer, got 'one'",
          "x.yaml:19:12: model.moe.router.per_layer.2: expected a map of router options, got '0.5'",
          "x.yaml:20:13: unknown key 'pp'", "x.yaml:20:22: unknown key 'per_layer'",
          "x.yaml:21:16: model.moe.router.per_layer.0.p: must be in (0, 1], got 2",
          "x.yaml:18:13: model.moe.router.per_layer.1.k: an option of router type top_k, but the "
          "type here is top_p (default)"));
}

TEST_F(Layering, LayersWithoutExpertsHaveNoRouter) {
  EXPECT_THAT(
      problems_of_minimal({"model.moe.router.per_layer.2.p=0.5"}, "    layers: [1, 3]\n"),
      ElementsAre("command line: model.moe.router.per_layer.2: not an MoE layer (MoE layers: "
                  "1, 3)"));
}

}  // namespace
}  // namespace switchyard::config
