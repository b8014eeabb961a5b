#include "switchyard/telemetry/expert_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace switchyard::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = ExpertChange::Kind;

// One layer whose experts got these rows of 8 tokens.
StepSums step_of(std::vector<std::int64_t> count_E) {
  StepSums sums;
  sums.layers.push_back({.layer = 7, .num_tokens = 8, .count_E = std::move(count_E)});
  return sums;
}

// The changes of `num` equal steps, and in which of them (from 1) they came.
struct Seen {
  std::vector<ExpertChange> changes;
  std::vector<int> at;
};

Seen add(ExpertWatch& watch, int num, const std::vector<std::int64_t>& count_E) {
  Seen seen;
  for (int i = 1; i <= num; ++i) {
    for (ExpertChange& change : watch.add(step_of(count_E))) {
      seen.changes.push_back(std::move(change));
      seen.at.push_back(i);
    }
  }
  return seen;
}

TEST(ExpertWatch, TellsOnceThatAnExpertDiedAndOnceThatItIsBack) {
  ExpertWatch watch({.dead_steps = 20, .collapse_window = 1000});
  EXPECT_THAT(add(watch, 5, {4, 4, 4, 4}).changes, IsEmpty());
  const Seen died = add(watch, 100, {4, 0, 4, 4});
  ASSERT_EQ(died.changes.size(), 1U);
  EXPECT_THAT(died.at, ElementsAre(20));
  EXPECT_EQ(died.changes[0].kind, Kind::kDead);
  EXPECT_TRUE(died.changes[0].is_warning());
  EXPECT_EQ(died.changes[0].layer, 7);
  EXPECT_THAT(died.changes[0].experts, ElementsAre(1));
  const Seen back = add(watch, 100, {4, 4, 4, 4});
  ASSERT_EQ(back.changes.size(), 1U);
  EXPECT_THAT(back.at, ElementsAre(1));
  EXPECT_EQ(back.changes[0].kind, Kind::kAlive);
  EXPECT_FALSE(back.changes[0].is_warning());
  EXPECT_THAT(back.changes[0].experts, ElementsAre(1));
  EXPECT_EQ(back.changes[0].num_steps, 100);
}

TEST(ExpertWatch, ShortPausesAreNoDeath) {
  ExpertWatch watch({.dead_steps = 20, .collapse_window = 1000});
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(add(watch, 19, {4, 0, 4, 4}).changes, IsEmpty());
    EXPECT_THAT(add(watch, 1, {4, 1, 4, 4}).changes, IsEmpty());
  }
}

TEST(ExpertWatch, ExpertsThatDieTogetherAreOneChange) {
  ExpertWatch watch({.dead_steps = 3, .collapse_window = 1000});
  const Seen died = add(watch, 10, {4, 0, 4, 0});
  ASSERT_EQ(died.changes.size(), 1U);
  EXPECT_THAT(died.changes[0].experts, ElementsAre(1, 3));
}

TEST(ExpertWatch, SkippedAndEmptyStepsAreNotCounted) {
  ExpertWatch watch({.dead_steps = 3, .collapse_window = 1000});
  (void)add(watch, 2, {4, 0, 4, 4});
  StepSums skipped = step_of({4, 0, 4, 4});
  skipped.skipped = true;
  EXPECT_THAT(watch.add(skipped), IsEmpty());
  StepSums empty = step_of({0, 0, 0, 0});
  for (auto& layer : empty.layers) layer.num_tokens = 0;
  for (int i = 0; i < 10; ++i) EXPECT_THAT(watch.add(empty), IsEmpty());
  EXPECT_THAT(add(watch, 1, {4, 0, 4, 4}).at, ElementsAre(1));  // the third that counts
}

// Where tokens may have no expert, all of a layer's may die at once.
TEST(ExpertWatch, ALayerWhoseTokensGetNoExpertIsDead) {
  ExpertWatch watch({.dead_steps = 3, .collapse_window = 5});
  const Seen died = add(watch, 20, {0, 0, 0});
  ASSERT_EQ(died.changes.size(), 1U);
  EXPECT_EQ(died.changes[0].kind, Kind::kDead);
  EXPECT_THAT(died.changes[0].experts, ElementsAre(0, 1, 2));
}

TEST(ExpertWatch, LayersAreToldApart) {
  ExpertWatch watch({.dead_steps = 2, .collapse_window = 1000});
  StepSums sums = step_of({0, 8});
  sums.layers.push_back({.layer = 9, .num_tokens = 8, .count_E = {8, 8, 0}});
  EXPECT_THAT(watch.add(sums), IsEmpty());
  const auto changes = watch.add(sums);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].layer, 7);
  EXPECT_THAT(changes[0].experts, ElementsAre(0));
  EXPECT_EQ(changes[1].layer, 9);
  EXPECT_THAT(changes[1].experts, ElementsAre(2));
}

// k = 2 of 8 experts: two experts take 1/4 when even; collapsed above 1/4 + 3/4 * 3/4 = 0.8125,
// spread below 1/4 + 1/2 * 3/4 = 0.625.
TEST(ExpertWatch, TellsOnceThatTheLoadCollapsedAndOnceThatItSpreadAgain) {
  ExpertWatch watch({.dead_steps = 1000, .collapse_window = 10});
  EXPECT_THAT(add(watch, 20, {2, 2, 2, 2, 2, 2, 2, 2}).changes, IsEmpty());
  EXPECT_THAT(add(watch, 20, {1, 6, 0, 7, 1, 1, 0, 0}).changes, IsEmpty());  // 13 / 16 exactly
  const Seen collapsed = add(watch, 40, {1, 7, 0, 7, 1, 0, 0, 0});
  ASSERT_EQ(collapsed.changes.size(), 1U);
  EXPECT_THAT(collapsed.at, ElementsAre(10));
  EXPECT_EQ(collapsed.changes[0].kind, Kind::kCollapsed);
  EXPECT_TRUE(collapsed.changes[0].is_warning());
  EXPECT_THAT(collapsed.changes[0].experts, ElementsAre(1, 3));
  EXPECT_DOUBLE_EQ(collapsed.changes[0].share, 14.0 / 16.0);
  EXPECT_THAT(add(watch, 40, {2, 5, 0, 5, 2, 2, 0, 0}).changes, IsEmpty());  // 10 / 16 exactly
  const Seen spread = add(watch, 40, {3, 4, 1, 5, 1, 1, 1, 0});
  ASSERT_EQ(spread.changes.size(), 1U);
  EXPECT_EQ(spread.changes[0].kind, Kind::kSpread);
  EXPECT_FALSE(spread.changes[0].is_warning());
}

TEST(ExpertWatch, TokensThatUseNearlyAllExpertsAreNoCollapse) {
  ExpertWatch watch({.dead_steps = 1000, .collapse_window = 5});
  EXPECT_THAT(add(watch, 20, {8, 8, 7, 8, 8, 0, 8, 8}).changes, IsEmpty());
  EXPECT_THAT(add(watch, 20, {8, 8, 8, 7}).changes, IsEmpty());
  EXPECT_THAT(add(watch, 20, {8}).changes, IsEmpty());
}

TEST(ExpertWatch, FewerThanOneExpertPerTokenCanCollapseToo) {
  ExpertWatch watch({.dead_steps = 1000, .collapse_window = 5});
  const Seen collapsed = add(watch, 5, {0, 0, 3, 0});
  ASSERT_EQ(collapsed.changes.size(), 1U);
  EXPECT_THAT(collapsed.changes[0].experts, ElementsAre(2));
}

TEST(ExpertChange, MessageSaysWhatWasSeenAndWhatToTry) {
  const config::MoeLossConfig loss{.load_balance = 0.01};
  EXPECT_EQ((ExpertChange{.kind = Kind::kDead, .layer = 7, .experts = {5}, .num_steps = 200})
                .message(loss),
            "layer 7 expert 5 has had no tokens for 200 steps; try a higher "
            "model.moe.loss.load_balance (now 0.01) or a lower optim.learning_rate");
  EXPECT_EQ((ExpertChange{.kind = Kind::kAlive, .layer = 7, .experts = {5}, .num_steps = 340})
                .message(loss),
            "layer 7 expert 5 gets tokens again, after 340 steps without");
  EXPECT_THAT((ExpertChange{.kind = Kind::kDead, .layer = 0, .experts = {1, 2, 3}, .num_steps = 9})
                  .message(loss),
              HasSubstr("layer 0 experts 1, 2 and 3 have had no tokens for 9 steps"));
  EXPECT_THAT((ExpertChange{.kind = Kind::kCollapsed,
                            .layer = 3,
                            .experts = {1, 4},
                            .num_steps = 50,
                            .share = 0.913})
                  .message(loss),
              HasSubstr("layer 3: the load has collapsed: experts 1 and 4 took 91% of the last 50 "
                        "steps; try a higher"));
}

}  // namespace
}  // namespace switchyard::telemetry
