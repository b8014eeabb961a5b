// What verifying keeps, against machines of so much memory.
#include "verify/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "support/tiny_model.h"
#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/model/parameter_counts.h"

namespace switchyard::verify {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Without experts.
config::Config dense_config(const std::string& precision = "fp32") {
  config::Config config = testing::tiny_config(precision);
  config.model.moe.num_experts = 0;
  config.model.moe.layers = {};
  return config;
}

double parameters_of(const config::Config& config) {
  return static_cast<double>(model::count_parameters(config.model).total);
}

HostFacts host(double available, double swap = 0.0) {
  HostFacts facts;
  facts.memory_bytes = std::uint64_t{1} << 50U;
  facts.available_memory_bytes = static_cast<std::uint64_t>(available);
  facts.swap_bytes = static_cast<std::uint64_t>(swap);
  return facts;
}

// What is said of so many steps in these layouts; empty where they fit.
std::string refusal(std::int64_t steps, const HostFacts& facts, const char* layouts = "2x1") {
  try {
    check_memory(dense_config(), {.layouts = parse_layouts(layouts), .steps = steps}, facts);
  } catch (const OutOfMemoryError& error) {
    return std::string(error.what()) + " / " + error.hint();
  }
  return {};
}

TEST(VerifyMemory, OfEveryStepGradientsAndParametersAreKeptTwice) {
  const config::Config config = dense_config();
  const double bytes = 4.0 * parameters_of(config);
  EXPECT_EQ(memory_need(config, {1, 1}).each_step, 4.0 * bytes);
  EXPECT_EQ(memory_need(config, {4, 1}).each_step, 4.0 * bytes) << "whole, whoever has them";
  const config::Config twice = dense_config("fp64");
  EXPECT_EQ(memory_need(twice, {4, 1}).each_step, 8.0 * bytes);
}

TEST(VerifyMemory, EveryRankHasAStateOfItsOwn) {
  config::Config config = dense_config();
  const double bytes = 4.0 * parameters_of(config);
  EXPECT_EQ(memory_need(config, {1, 1}).state, 4.0 * bytes);
  // Weights and gradients on each, moments and sums once.
  EXPECT_EQ(memory_need(config, {4, 1}).state, (4.0 * 2.0 + 3.0) * bytes);
  config.parallel.shard_optimizer = false;
  EXPECT_EQ(memory_need(config, {4, 1}).state, 4.0 * 4.0 * bytes);
}

TEST(VerifyMemory, ExpertsAreSharedOutAndChoicesAreKept) {
  const config::Config config = testing::tiny_config("fp32");
  const double bytes = 4.0 * parameters_of(config);
  const double experts = 4.0 * 4.0 * 3.0 * 32.0 * 24.0;  // four, of three matrices
  EXPECT_DOUBLE_EQ(memory_need(config, {4, 4}).state,
                   4.0 * 2.0 * (bytes - experts) + 2.0 * experts + 3.0 * bytes);
  const double choices = memory_need(config, {4, 4}).each_step - 4.0 * bytes;
  EXPECT_GT(choices, 2.0 * 8.0 * 16.0 * 80.0) << "of 8 sequences of 16 tokens, in one layer";
  EXPECT_LT(choices, 2.0 * 8.0 * 16.0 * 200.0);
}

TEST(VerifyMemory, WhatDoesNotFitIsRefusedWithTheStepsThatWould) {
  const MemoryNeed need = memory_need(dense_config(), {2, 1});
  const double room = need.state + 10.5 * need.each_step;
  EXPECT_EQ(refusal(10, host(room)), "");
  EXPECT_THAT(refusal(1000, host(room)),
              AllOf(HasSubstr("layout 2x1: 1000 steps would take"), HasSubstr("for each step"),
                    HasSubstr("available / --steps 10 is the most that fits")));
  EXPECT_THAT(refusal(11, host(room)), HasSubstr("--steps 10 is"));
}

TEST(VerifyMemory, TheLayoutThatTakesMostDecides) {
  const MemoryNeed most = memory_need(dense_config(), {8, 1});
  const HostFacts facts = host(most.state + 3.5 * most.each_step);
  EXPECT_THAT(refusal(1000, facts, "2x1,8x1,4x1"),
              AllOf(HasSubstr("layout 8x1"), HasSubstr("--steps 3 is")));
  EXPECT_THAT(refusal(4, facts, "2x1,8x1"), HasSubstr("layout 8x1"));
  EXPECT_EQ(refusal(4, facts, "2x1"), "");
}

TEST(VerifyMemory, SwapAndLimitsCount) {
  const MemoryNeed need = memory_need(dense_config(), {2, 1});
  const double half = 0.5 * need.of_steps(5);
  EXPECT_EQ(refusal(5, host(half, 1.1 * half)), "");
  EXPECT_THAT(refusal(5, host(half, 0.9 * half)), HasSubstr("of swap available / --steps"));
  HostFacts limited = host(4.0 * half);
  EXPECT_EQ(refusal(5, limited), "");
  limited.memory_limit_bytes = static_cast<std::uint64_t>(half);  // of a cgroup
  EXPECT_THAT(refusal(5, limited), HasSubstr("is the most that fits"));
}

TEST(VerifyMemory, WhereNotEvenOneStepFitsItIsTheModelOrTheRanks) {
  const MemoryNeed need = memory_need(dense_config(), {2, 1});
  EXPECT_THAT(refusal(1, host(0.5 * need.state)),
              HasSubstr("/ not even one step fits: choose a smaller model"));
}

TEST(VerifyMemory, NothingIsSaidWhereTheSystemDoesNotTell) {
  EXPECT_EQ(refusal(1000, HostFacts()), "");
  HostFacts total_alone;
  total_alone.memory_bytes = 4096;
  EXPECT_NE(refusal(1000, total_alone), "");
}

}  // namespace
}  // namespace switchyard::verify
