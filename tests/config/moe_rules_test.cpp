// Defaults and rules of routers with a budget, and of the shared expert.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "loading.h"

namespace switchyard::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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

TEST(Rules, ARouterWithABudgetNeedsOneThatThereAreExpertsFor) {
  for (const char* type : {"relu", "expert_threshold"}) {
    const std::string router = std::string("    router: {type: ") + type + ", target_k: ";
    EXPECT_THAT(problems_of_minimal({}, router + "8}\n"), IsEmpty()) << type;
    EXPECT_THAT(problems_of_minimal({}, router + "0}\n"),
                ElementsAre(testing::HasSubstr("model.moe.router.target_k: must be above 0")));
    EXPECT_THAT(problems_of_minimal({}, router + "8.5}\n"),
                ElementsAre(testing::HasSubstr(
                    "model.moe.router.target_k: must be at most num_experts 8, got 8.5")));
  }
  EXPECT_THAT(problems_of_minimal({}, "    router: {type: relu, l1_factor: 1}\n"),
              ElementsAre(testing::HasSubstr("model.moe.router.l1_factor")));
}

TEST(Rules, LayersThatSteerOneMeanSteerItToOneNumber) {
  const auto problems = [](const std::string& layers, const std::string& control = "model") {
    return problems_of_minimal({},
                               "    layers: [1, 2, 3]\n    router:\n      type: top_p\n"
                               "      target_k: 2\n      control: " +
                                   control + "\n      per_layer: {" + layers + "}\n");
  };
  EXPECT_THAT(
      problems("3: {target_k: 4}"),
      ElementsAre(testing::HasSubstr(
          "model.moe.router.per_layer.3.target_k: layer 1 steers the mean of all MoE layers "
          "to 2, layer 3 to 4; give them one target_k, or control: layer")));
  EXPECT_THAT(
      problems("1: {target_k: 4}"),
      ElementsAre(testing::HasSubstr("model.moe.router.per_layer.1.target_k: layer 1 steers "
                                     "the mean of all MoE layers to 4, layer 2 to 2")));
  EXPECT_THAT(
      problems("3: {type: relu, target_k: 3}"),
      ElementsAre(testing::HasSubstr("layer 1 steers the mean of all MoE layers to 2, layer "
                                     "3 to 3")));
  for (const char* fine :
       {"3: {target_k: 2}", "3: {target_k: 4, control: layer}", "3: {target_k: 0}",
        "3: {type: top_k, k: 4}", "3: {type: expert_threshold, target_k: 4}"}) {
    EXPECT_THAT(problems(fine), IsEmpty()) << fine;
  }
  EXPECT_THAT(problems("3: {target_k: 4}", "layer"), IsEmpty());
}

TEST(Rules, ASharedExpertIsBesideOthersAndHasWhatItsGateGates) {
  EXPECT_THAT(
      problems_of_minimal({"model.moe.shared_expert_size=24", "model.moe.shared_expert_gate=true"}),
      IsEmpty());
  EXPECT_THAT(problems_of_minimal({"model.moe.shared_expert_gate=true"}),
              ElementsAre("command line: model.moe.shared_expert_gate: there is no shared expert; "
                          "set model.moe.shared_expert_size"));
  EXPECT_THAT(problems_of_minimal({"model.moe.num_experts=0", "model.moe.shared_expert_size=24"}),
              testing::Contains(testing::HasSubstr(
                  "model.moe.shared_expert_size: is of an expert beside others, but "
                  "model.moe.num_experts is 0")));
}

}  // namespace
}  // namespace switchyard::config
