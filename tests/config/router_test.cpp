// The routers' descriptors, and a config's router as a value.
#include "switchyard/config/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "loading.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(RouterConfig, IsOfTheDefaultTypeUntilToldOtherwise) {
  EXPECT_EQ(RouterConfig().type, find_field(kRouterTypeKey)->default_text);
  EXPECT_EQ(RouterConfig(), RouterConfig(TopPOptions{}));
}

TEST(RouterConfig, OfANamedTypeHasThatTypesDefaults) {
  const RouterConfig router("top_k");
  EXPECT_EQ(router.type, "top_k");
  EXPECT_TRUE(router.renormalize);
  EXPECT_EQ(top_k(router).k, 2);
  EXPECT_THROW((void)RouterConfig("topk"), InternalError);
}

TEST(RouterConfig, GivesNoOptionsOfAnotherRouter) {
  RouterConfig router(TopKOptions{.k = 3});
  EXPECT_THROW((void)top_p(router), InternalError);
  router.options.as<TopKOptions>().k = 4;
  EXPECT_EQ(top_k(router).k, 4);
}

TEST(RouterConfig, IsAValue) {
  const RouterConfig router(TopKOptions{.k = 3});
  RouterConfig copy = router;
  EXPECT_EQ(copy, router);
  copy.options.as<TopKOptions>().k = 4;
  EXPECT_EQ(top_k(router).k, 3);
  EXPECT_NE(copy, router);
  EXPECT_NE(RouterConfig(TopKOptions{}).options, RouterConfig(TopPOptions{}).options);
  EXPECT_EQ(RouterOptions{}, RouterOptions{});
  EXPECT_NE(RouterOptions{}, RouterOptions(TopKOptions{}));
}

TEST(RouterDescriptor, IsFoundByItsName) {
  for (const RouterDescriptor* router : router_descriptors()) {
    EXPECT_EQ(find_router(router->name), router);
    EXPECT_EQ(&descriptor_of(RouterConfig(router->name)), router);
  }
  EXPECT_EQ(find_router("topk"), nullptr);
}

TEST(RouterDescriptor, ExpectsNoMoreExpertsThanItTakesAtMost) {
  for (const RouterDescriptor* router : router_descriptors()) {
    SCOPED_TRACE(router->name);
    const RouterExpectation experts = router->experts_per_token(RouterConfig(router->name), 8);
    EXPECT_GT(experts.expected, 0.0);
    EXPECT_LE(experts.expected, experts.worst);
    EXPECT_LE(experts.untrained, experts.worst);
    EXPECT_LE(experts.worst, 8.0);
    EXPECT_FALSE(experts.reason.empty());
  }
}

TEST(RouterDescriptor, NamesTheStateThatItsOptionsBring) {
  const auto state = [](const RouterConfig& router, bool causal) {
    const RouterDescriptor& descriptor = descriptor_of(router);
    return descriptor.state == nullptr ? std::vector<std::string>{}
                                       : descriptor.state(router, causal);
  };
  EXPECT_THAT(state(RouterConfig(TopKOptions{}), true), IsEmpty());
  EXPECT_THAT(state(RouterConfig(TopPOptions{}), true), IsEmpty());
  EXPECT_THAT(state(RouterConfig(TopPOptions{.p_warmup = PWarmup{}}), true), ElementsAre("p"));
  EXPECT_THAT(state(RouterConfig(TopPOptions{.target_k = 2.0}), true),
              ElementsAre("error_sum", "p"));
  EXPECT_THAT(state(RouterConfig(TopPOptions{.normalize_logits = true}), true), IsEmpty());
  EXPECT_THAT(state(RouterConfig(TopKOptions{.bias_rate = 1e-3}), true), ElementsAre("bias"));
  EXPECT_THAT(state(RouterConfig("relu"), true), ElementsAre("l1_coefficient"));
  EXPECT_THAT(state(RouterConfig("expert_threshold"), true),
              ElementsAre("num_updates", "threshold"));
  EXPECT_THAT(state(RouterConfig(AttentionImportanceOptions{}), true),
              ElementsAre("importance_mean"));
  EXPECT_THAT(state(RouterConfig(AttentionImportanceOptions{}), false), IsEmpty());
  EXPECT_THAT(state(RouterConfig(AttentionImportanceOptions{.allocation = "ceil_experts"}), true),
              IsEmpty());
}

// What is kept when a run goes on with other options of the same type.
TEST(RouterDescriptor, TellsStateOfOneMeaningFromThatOfAnother) {
  const auto same = [](const auto& before, const auto& after) {
    const auto meaning = descriptor_of(RouterConfig(before)).state_meaning;
    return meaning(RouterConfig(before)) == meaning(RouterConfig(after));
  };
  const TopPOptions steered{.target_k = 2.0};
  EXPECT_TRUE(same(steered, TopPOptions{.target_k = 2.0, .control_gains = {0.5, 0.5}}));
  EXPECT_FALSE(same(steered, TopPOptions{.target_k = 2.0, .control_gains = {0.25, 1.0}}));
  EXPECT_FALSE(same(steered, TopPOptions{.target_k = 3.0}));
  EXPECT_FALSE(same(steered, TopPOptions{.target_k = 2.0, .control = "layer"}));
  EXPECT_FALSE(same(steered, TopPOptions{.p = 0.3, .target_k = 2.0}));
  EXPECT_FALSE(same(steered, TopPOptions{.p_warmup = PWarmup{}}));
  EXPECT_TRUE(same(ReluOptions{.target_k = 2.0}, ReluOptions{.target_k = 3.0}));
  EXPECT_FALSE(same(ReluOptions{}, ReluOptions{.control = "layer"}));
  EXPECT_TRUE(same(ExpertThresholdOptions{}, ExpertThresholdOptions{.threshold_decay = 0.9}));
  EXPECT_FALSE(same(ExpertThresholdOptions{}, ExpertThresholdOptions{.target_k = 3.0}));
}

TEST(RouterDescriptor, NamesTheOptionsThatACausalModelRefuses) {
  const AttentionImportanceOptions options{.importance = "attention_received",
                                           .allocation = "budget"};
  const RouterConfig router(options);
  std::vector<std::string> refused;
  for (const BidirectionalOption& found : descriptor_of(router).bidirectional(router)) {
    refused.push_back(found.option);
  }
  EXPECT_THAT(refused, UnorderedElementsAre("importance", "allocation"));
}

// Elsewhere a router is asked about through its descriptor.
TEST(RouterDescriptor, NoOtherSourceFileSpellsTheNameOfARouter) {
  namespace fs = std::filesystem;
  const fs::path root = SWITCHYARD_SOURCE_DIR;
  const std::vector<std::string> allowed{"src/config/fields/fields_router.cpp",  // the default type
                                         "src/ops/attention_importance.cpp",  // the op of that name
                                         "src/moe/benchmark_routings.h"};
  int num_files = 0;
  for (const char* const folder : {"src", "include"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file()) continue;
      const std::string path = fs::relative(entry.path(), root).generic_string();
      if (path.find("config/routers/") != std::string::npos) continue;
      if (std::find(allowed.begin(), allowed.end(), path) != allowed.end()) continue;
      std::ifstream stream(entry.path(), std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      ++num_files;
      for (const std::string& type : router_types()) {
        EXPECT_EQ(text.find("\"" + type + "\""), std::string::npos) << path << ": " << type;
      }
    }
  }
  EXPECT_GT(num_files, 100);
}

TEST(RouterOption, OfOneRouterHasNoPlaceInAConfigOfAnother) {
  const Field& k = *find_field("model.moe.router.k");
  Config config;
  config.model.moe.router = RouterConfig(TopKOptions{});
  EXPECT_NO_THROW((void)k.access_in(config));
  config.model.moe.router = RouterConfig(TopPOptions{});
  EXPECT_THROW((void)k.access_in(config), InternalError);
}

}  // namespace
}  // namespace switchyard::config
