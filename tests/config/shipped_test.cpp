// What ships with the program: presets, configs/, docs/config.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "loading.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/presets.h"
#include "switchyard/core/file.h"

namespace switchyard::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kSource = SWITCHYARD_SOURCE_DIR;

// Weights of a decoder; `experts` per MoE layer are counted (all, or the k of one token).
std::int64_t num_parameters(const ModelConfig& model, std::int64_t experts) {
  const std::int64_t width = model.hidden_size;
  const std::int64_t head_width = model.num_heads * model.head_dim;
  const std::int64_t kv_width = model.num_kv_heads * model.head_dim;
  const std::int64_t attention = 2 * width * head_width + 2 * width * kv_width;
  const auto num_moe = static_cast<std::int64_t>(model.moe.layers.size());
  const std::int64_t moe =
      width * model.moe.num_experts + experts * 3 * width * model.moe.expert_size;
  const std::int64_t dense = 3 * width * model.ffn_size;
  const std::int64_t embedding = model.vocab_size * width * (model.tie_embeddings ? 1 : 2);
  return embedding + width + model.num_layers * (attention + 2 * width) + num_moe * moe +
         (model.num_layers - num_moe) * dense;
}

TEST(Preset, HuangHasThePapersSize) {
  const ModelConfig model = load_model_preset("huang-3.5b");
  EXPECT_EQ(model.num_layers, 24);
  EXPECT_EQ(model.moe.layers.size(), 24U);
  EXPECT_EQ(top_p(model.router_at(0)).p, 0.4);
  EXPECT_NEAR(static_cast<double>(num_parameters(model, 16)), 3.5e9, 0.03e9);
  EXPECT_NEAR(static_cast<double>(num_parameters(model, 1)), 374e6, 1e6);
  EXPECT_NEAR(static_cast<double>(num_parameters(model, 2)), 581e6, 1e6);
}

TEST(Preset, HuangEvery2AlternatesWithDenseLayers) {
  const ModelConfig model = load_model_preset("huang-3.5b-every2");
  EXPECT_THAT(model.moe.layers, ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22));
  EXPECT_EQ(model.ffn_size, 2816);
  EXPECT_NEAR(static_cast<double>(num_parameters(model, 16)), 1.93e9, 0.01e9);
}

TEST(Preset, EveryOneIsAValidModelWithoutARun) {
  for (const Preset& preset : all_presets()) {
    const ModelConfig model = load_model_preset(preset.name);
    EXPECT_EQ(model.preset, preset.name);
    EXPECT_GT(model.head_dim, 0);
    EXPECT_FALSE(preset.summary.empty());
  }
}

TEST(Preset, UnknownNameListsTheKnown) {
  try {
    (void)load_model_preset("tny");
    FAIL() << "loaded";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "no model preset 'tny'");
    EXPECT_EQ(error.hint(), "presets: huang-3.5b, huang-3.5b-every2, tiny");
  }
}

TEST(ModelText, NeedsNothingOfARunButTheWholeModel) {
  const ModelConfig model =
      load_model_text("model: {hidden_size: 8, num_layers: 1, num_heads: 2, ffn_size: 8}\n", "m");
  EXPECT_EQ(model.head_dim, 4);
  EXPECT_THROW((void)load_model_text("model: {hidden_size: 8}\n", "m"), ConfigError);
}

TEST(ShippedConfigs, LoadWithoutDroppingAnything) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource + "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    const Resolved resolved = load(entry.path(), {});
    EXPECT_THAT(resolved.dropped, testing::IsEmpty()) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 4U);
}

TEST(ShippedConfigs, QuickstartSwitchesRoutersByOneKey) {
  for (const std::string& type : router_types()) {
    const Overrides overrides = {"model.moe.router.type=" + type};
    const Config config = load(kSource + "/configs/quickstart.yaml", overrides).config;
    EXPECT_EQ(config.model.moe.router.type, type);
  }
}

TEST(ShippedConfigs, LongRunExtendsTheQuickstart) {
  const Resolved resolved = load(kSource + "/configs/kjv-long.yaml", {});
  EXPECT_THAT(resolved.origin_of_key.at("model.moe.router.target_k"),
              HasSubstr("quickstart.yaml:"));
}

TEST(Reference, DocsAreCurrent) {
  EXPECT_TRUE(read_file(kSource + "/docs/config.md") == reference_markdown())
      << "run: build/release/switchyard config reference --markdown > docs/config.md";
}

TEST(Reference, EveryFormNamesEveryKey) {
  const std::string text = reference_text();
  const std::string summary = reference_summary();
  const std::string markdown = reference_markdown();
  for (const Field& field : all_fields()) {
    EXPECT_THAT(text, HasSubstr("  " + field.key + "\n      " + field.help));
    EXPECT_THAT(summary, HasSubstr("  " + field.key + " "));
    const std::string name = field.key.substr(field.key.rfind('.') + 1);
    EXPECT_THAT(markdown, HasSubstr("| `" + name + "` | " + field.type_name() + " | "));
  }
}

}  // namespace
}  // namespace switchyard::config
