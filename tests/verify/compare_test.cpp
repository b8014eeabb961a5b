// What is rounding and what is not, where rounding may flip a choice of experts: two recordings by
// hand, of which one is spoiled.
#include "verify/compare.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace switchyard::verify {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kSteps = 5;
constexpr std::int32_t kTokens = 1000;

// Every token gets one expert in layers 1, 3 and 5; the router has a state.
Trace recording(std::int32_t num_tokens = kTokens) {
  Trace trace;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    telemetry::StepSums sums{.step = step + 1, .lm_loss = 5.0, .grad_norm = 2.0};
    for (const std::int64_t layer : {1, 3, 5}) {
      sums.layers.push_back(
          {.layer = layer, .losses = {.load_balance = 1.0, .dynamic = 1.5, .z = 3.0, .l1 = 0.5}});
      for (std::int32_t token = 0; token < num_tokens; ++token) {
        trace.experts[{step, layer, token}] = {token % 4};
      }
    }
    trace.steps.push_back(sums);
    trace.gradients.push_back({{"w", at::full({3}, 1.0)}});
    trace.parameters.push_back({{"w", at::full({3}, 2.0)}});
    trace.router_state.push_back({{"p", {at::full({1}, 0.4)}}});
  }
  return trace;
}

Trace with_two_ranks(Trace trace) {
  for (auto& states : trace.router_state) states["p"].push_back(states["p"].front().clone());
  return trace;
}

// In its step 4 the first token gets another expert in layer 3; what follows differs.
Trace recording_with_a_flip() {
  Trace trace = with_two_ranks(recording());
  trace.experts[{3, 3, 0}] = {3};
  trace.experts[{3, 5, 7}] = {1};
  trace.experts[{4, 1, 5}] = {3};
  trace.steps[3].lm_loss = 5.01;
  trace.steps[3].grad_norm = 2.1;
  trace.steps[3].layers[1].losses.load_balance = 1.002;
  trace.steps[3].layers[1].losses.l1 = 0.502;
  trace.steps[3].layers[2].losses.z = 3.1;
  trace.steps[4].lm_loss = 5.1;
  trace.gradients[3]["w"] = at::full({3}, 1.1);
  trace.parameters[4]["w"] = at::full({3}, 2.2);
  trace.router_state[3]["p"][1] = at::full({1}, 0.41);
  return trace;
}

LayoutResult compare_in(const std::string& precision, const Trace& trace,
                        std::int32_t num_tokens = kTokens) {
  return compare({2, 2}, recording(num_tokens), trace, tolerances_of(precision));
}

// What is said in fp32 of the recording with a flip when it is spoiled as well.
std::vector<std::string> complaints_of(const std::function<void(Trace& trace)>& spoil) {
  Trace trace = recording_with_a_flip();
  spoil(trace);
  return compare_in("fp32", trace).complaints;
}

TEST(Compare, WhatComesAfterAChoiceThatRoundingFlipsIsReportedAndNotJudged) {
  const LayoutResult result = compare_in("fp32", recording_with_a_flip());
  EXPECT_THAT(result.complaints, IsEmpty());
  EXPECT_EQ(result.loss.relative, 0.0);
  EXPECT_EQ(result.parameter.relative, 0.0);
  EXPECT_EQ(result.num_judged, 3);
  EXPECT_EQ(result.choices.num_flipped, 6);
  EXPECT_EQ(result.choices.num_pairs, kSteps * 3 * kTokens);
  ASSERT_TRUE(result.first_flip);
  EXPECT_EQ(result.first_flip->step, 4);
  EXPECT_EQ(result.first_flip->layer, 3);
  EXPECT_EQ(result.first_flip->choices.num_flipped, 2);
  EXPECT_EQ(result.first_flip->choices.num_pairs, kTokens);
  EXPECT_NEAR(result.after_flip.relative, 0.05, 1e-12);  // the clip norm of step 4

  const VerifyReport report{.config = {},
                            .steps = kSteps,
                            .random_tokens = false,
                            .tolerances = tolerances_of("fp32"),
                            .layouts = {result}};
  EXPECT_TRUE(report.passed());
  EXPECT_THAT(report_page(report),
              HasSubstr("2x2: rounding flips 2 of 1000 choices of layer 3 in step 4; the 3 steps "
                        "before are judged, later losses and norms are up to 5.0e-02 apart"));
}

TEST(Compare, WithoutRoundingToSpeakOfEverythingIsJudged) {
  const LayoutResult result = compare_in("fp64", recording_with_a_flip());
  EXPECT_EQ(result.num_judged, kSteps);
  EXPECT_THAT(result.complaints,
              ElementsAre(HasSubstr("loss differs by 3.33e-02 (z loss of layer 5, step 4)"),
                          HasSubstr("clip norm differs by 5.00e-02 (step 4)"),
                          HasSubstr("gradient differs by 1.00e-01 (w, step 4)"),
                          HasSubstr("parameter differs by 1.00e-01 (w, step 5)"),
                          HasSubstr("router state differs by 2.50e-02 (p, step 4, rank 1)")));
}

TEST(Compare, AFaultBeforeTheFlipIsSeen) {
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[2].lm_loss = 5.001; }),
              ElementsAre(HasSubstr("loss differs by 2.00e-04 (step 3)")));
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[2].layers[0].losses.l1 = 0.501; }),
              ElementsAre(HasSubstr("loss differs by 1.00e-03 (l1 loss of layer 1, step 3)")));
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[2].grad_norm = 2.001; }),
              ElementsAre(HasSubstr("clip norm differs by 5.00e-04 (step 3)")));
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.gradients[2]["w"] = at::full({3}, 1.01); }),
              ElementsAre(HasSubstr("gradient differs by 1.00e-02 (w, step 3)")));
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.parameters[2]["w"] = at::full({3}, 2.01); }),
              ElementsAre(HasSubstr("parameter differs by 5.00e-03 (w, step 3)")));
}

// It changes choices and no logits.
TEST(Compare, ARoutersStateThatOneRankHasWrongIsSeen) {
  EXPECT_THAT(
      complaints_of([](Trace& trace) { trace.router_state[2]["p"][1] = at::full({1}, 0.402); }),
      ElementsAre(HasSubstr("router state differs by 5.00e-03 (p, step 3, rank 1)")));
}

TEST(Compare, AFaultThatFlipsTheChoicesOfItsOwnStepIsSeen) {
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[3].layers[1].losses.z = 3.001; }),
              ElementsAre(HasSubstr("z loss of layer 3, step 4")));
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[3].layers[1].losses.dynamic = 1.501; }),
              ElementsAre(HasSubstr("dynamic loss of layer 3, step 4")));
  // Below it nothing flips.
  EXPECT_THAT(
      complaints_of([](Trace& trace) { trace.steps[3].layers[0].losses.load_balance = 1.001; }),
      ElementsAre(HasSubstr("load balance of layer 1, step 4")));
}

TEST(Compare, NumbersThatAreNoneAreAFaultAfterTheFlipToo) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[3].lm_loss = kNan; }),
              ElementsAre(HasSubstr("not numbers any more (step 4)")));
  EXPECT_THAT(complaints_of([](Trace& trace) { trace.steps[4].grad_norm = kNan; }),
              ElementsAre(HasSubstr("not numbers any more (step 5)")));
}

TEST(Compare, MoreChoicesThanRoundingFlipsAreAFault) {
  Trace trace = recording();
  trace.experts[{3, 3, 0}] = {3};
  trace.experts[{3, 3, 4}] = {3};
  EXPECT_THAT(compare_in("fp32", trace).complaints, IsEmpty());
  trace.experts.erase({3, 3, 8});  // a token without an expert
  EXPECT_THAT(compare_in("fp32", trace).complaints,
              ElementsAre(HasSubstr("5 of 1000 choices of layer 3 flip in step 4")));
  trace = recording();
  for (std::int32_t token = kTokens; token < kTokens + 5; ++token)
    trace.experts[{3, 3, token}] = {0};
  EXPECT_THAT(compare_in("fp32", trace).complaints,
              ElementsAre(HasSubstr("5 of 1000 choices of layer 3 flip in step 4")));
  constexpr std::int32_t kMany = 6000;
  trace = recording(kMany);
  for (std::int32_t token = 0; token < 12; token += 4) trace.experts[{3, 3, token}] = {3};
  EXPECT_THAT(compare_in("fp32", trace, kMany).complaints, IsEmpty());
  trace.experts[{3, 3, 12}] = {0, 1};
  EXPECT_THAT(compare_in("fp32", trace, kMany).complaints,
              ElementsAre(HasSubstr("7 of 6000 choices of layer 3 flip in step 4")));
}

TEST(Compare, AFlipThatComesTooEarlyLeavesNotEnoughToJudge) {
  for (const std::int64_t step : {0, 1, 2}) {
    Trace trace = recording();
    trace.experts[{step, 5, 0}] = {3};
    EXPECT_THAT(compare_in("fp32", trace).complaints,
                ElementsAre(HasSubstr("verify with train.precision=fp64")));
    EXPECT_THAT(compare_in("fp64", trace).complaints, IsEmpty());
    trace.steps[static_cast<std::size_t>(step)].layers[2].losses.z = 3.1;
    EXPECT_THAT(compare_in("fp32", trace).complaints, ElementsAre(HasSubstr("z loss of layer 5")));
  }
}

}  // namespace
}  // namespace switchyard::verify
