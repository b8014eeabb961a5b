#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/config/field_table.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;

std::string refusal(const std::string& type) {
  config::RouterConfig config;
  config.type = type;
  try {
    (void)testing::build_router(config);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(RouterRegistry, ListsTheBuiltInTypes) {
  EXPECT_THAT(router_types(),
              ElementsAre("attention_importance", "expert_threshold", "relu", "top_k", "top_p"));
}

TEST(RouterRegistry, KnowsTheTypesThatConfigFilesMayName) {
  EXPECT_THAT(router_types(), UnorderedElementsAreArray(config::router_types()));
}

TEST(RouterRegistry, NoTypeIsListedTwice) {
  std::vector<std::string> types = router_types();
  std::sort(types.begin(), types.end());
  EXPECT_EQ(std::adjacent_find(types.begin(), types.end()), types.end());
}

TEST(RouterRegistry, UnknownTypeListsTheKnownOnesAndTheNearest) {
  EXPECT_THAT(refusal("topp"),
              AllOf(HasSubstr("unknown router 'topp'"), HasSubstr("did you mean 'top_p'"),
                    HasSubstr("attention_importance, expert_threshold, relu, top_k, top_p")));
  EXPECT_THAT(refusal("soft_merging"),
              AllOf(HasSubstr("attention_importance, expert_threshold, relu, top_k, top_p"),
                    Not(HasSubstr("did you mean"))));
}

}  // namespace
}  // namespace switchyard::routing
