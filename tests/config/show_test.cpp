// A resolved config as text: complete, readable back, with the origin of every value.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "config/yaml/value.h"
#include "loading.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/values.h"

namespace switchyard::config {
namespace {

using testing::HasSubstr;

const std::vector<Overrides> kVariants = {
    {},
    {"model.moe.num_experts=0"},
    {"model.moe.every=2", "model.moe.first=1"},
    {"model.moe.layers=[0, 3]"},
    {"model.moe.router.type=top_k", "model.moe.router.k=3"},
    {"model.moe.router.type=attention_importance", "model.moe.router.k_mean=2.25"},
    {"model.moe.router.max_experts=4", "model.moe.router.p_warmup={from: 0.9, steps: 7}"},
    {"model.moe.router.per_layer={1: {p: 0.7}, 3: {type: top_k, k: 1, renormalize: false}}"},
    {"data.path=", "data.blend=[{path: \"a b\", weight: 0.1}, {path: c}]"},
    {"train.sample_prompt=In the beginning: \"x\" # \\ \t\n\xc3\xa9", "run.dir=none"},
    {"run.dir=null", "run.seed=18446744073709551615", "data.path=1e5"},
    {"optim.learning_rate=0.1", "optim.eps=1.2345678901234567e-300", "optim.betas=[0, 0.1]"},
    {"schedule.type=warmup_stable_decay", "schedule.warmup_steps=5", "train.precision=bf16"},
    {"model.preset=huang-3.5b"},
};

class RoundTrip : public testing::TestWithParam<Overrides> {};

TEST_P(RoundTrip, ToYamlLoadsAsTheSameConfig) {
  const Config config = load_minimal(GetParam()).config;
  const Resolved again = load_text(to_yaml(config), "config.resolved.yaml", {});
  EXPECT_TRUE(again.config == config) << to_yaml(config) << "\n---\n" << to_yaml(again.config);
}

TEST_P(RoundTrip, ShowLoadsAsTheSameConfig) {
  const Resolved resolved = load_minimal(GetParam());
  EXPECT_TRUE(load_text(show(resolved), "shown.yaml", {}).config == resolved.config);
}

INSTANTIATE_TEST_SUITE_P(Configs, RoundTrip, testing::ValuesIn(kVariants));

TEST(ToYaml, WritesEveryFieldThatApplies) {
  const std::string text = to_yaml(load_minimal().config);
  for (const Field& field : all_fields()) {
    if (!field.known_to("top_p") || field.key == "model.moe.layers") continue;
    const std::string name = field.key.substr(field.key.rfind('.') + 1);
    EXPECT_THAT(text, HasSubstr(" " + name + ": ")) << field.key;
  }
}

TEST(ToYaml, PlainTextStaysPlainAndTheRestIsQuoted) {
  EXPECT_EQ(text_to_yaml("runs/quick-start_2.0"), "runs/quick-start_2.0");
  EXPECT_EQ(text_to_yaml("/data/x"), "/data/x");
  EXPECT_EQ(text_to_yaml(""), "\"\"");
  EXPECT_EQ(text_to_yaml("true"), "\"true\"");
  EXPECT_EQ(text_to_yaml("12"), "\"12\"");
  EXPECT_EQ(text_to_yaml("a: b"), "\"a: b\"");
  EXPECT_EQ(text_to_yaml("line\n"), "\"line\\n\"");
}

// Of a folder, as a resume finds it, or of a class, as a file of labels has it.
TEST(ToYaml, ANameOfAnyBytesIsReadBack) {
  Config config = load_minimal().config;
  for (char byte = 1; byte <= ' '; ++byte) {
    for (const std::string& name : {std::string(1, byte), std::string("a\x7f") + byte + "b\""}) {
      config.run.dir = config.finetune.labels = name;
      EXPECT_TRUE(load_text(to_yaml(config), "config.resolved.yaml", {}).config == config)
          << text_to_yaml(name);
    }
  }
}

TEST(FieldsOf, NamesEveryKeyThatToYamlWrites) {
  const Config config =
      load_minimal({"train.steps=7"}, "    router: {per_layer: {2: {p: 0.3}}}\n").config;
  const auto fields = fields_of(config);
  EXPECT_THAT(fields, testing::Contains(testing::Pair("train.steps", "7")));
  EXPECT_THAT(fields, testing::Contains(testing::Pair("model.moe.router.per_layer.2.p", "0.3")));
  std::vector<std::string> overrides;
  for (const auto& [key, value] : fields) overrides.push_back(key + "=" + value);
  EXPECT_TRUE(load_minimal(overrides).config == config);
}

TEST(Show, NamesTheOriginOfEveryValue) {
  const std::string text = show(load_minimal({"optim.clip_norm=2"}, "    every: 2\n"));
  EXPECT_THAT(text, HasSubstr("run:\n  dir: runs/x                     # x.yaml:2\n"));
  EXPECT_THAT(text, HasSubstr("  clip_norm: 2                    # command line\n"));
  EXPECT_THAT(text, HasSubstr("    every: 2                      # x.yaml:15; MoE layers 0, 2\n"));
  EXPECT_THAT(text, HasSubstr("  num_kv_heads: 4                 # default: num_heads\n"));
  EXPECT_THAT(text, HasSubstr("      renormalize: false          # default: top_p\n"));
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = text.find('\n', start);
    const std::string line = text.substr(start, end - start);
    EXPECT_TRUE(line.ends_with(':') || line.find("  # ") != std::string::npos) << line;
    start = end + 1;
  }
}

TEST(Show, ListsWhatWasDropped) {
  EXPECT_THAT(
      show(load_minimal({"model.moe.router.type=top_k"}, "    router: {p: 0.5}\n")),
      testing::EndsWith("\n# Dropped, because a later source made them meaningless:\n"
                        "#   model.moe.router.p = 0.5 (x.yaml:15): router type top_k has no "
                        "such option\n"));
}

TEST(Show, OriginsCoverEveryFieldThatApplies) {
  const Resolved resolved = load_minimal();
  for (const Field& field : all_fields()) {
    if (!field.known_to("top_p")) continue;
    EXPECT_TRUE(resolved.origin_of_key.contains(field.key)) << field.key;
  }
}

}  // namespace
}  // namespace switchyard::config
