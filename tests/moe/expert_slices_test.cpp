#include "moe/expert_slices.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "support/openmp_teams.h"
#include "support/tensors.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/product.h"

namespace switchyard::moe {
namespace {

using ExpertSlicesOnTwoThreads = testing::OnTwoThreads;

std::vector<ExpertSlice> slices_of(const std::vector<std::int64_t>& counts) {
  std::vector<ExpertSlice> slices;
  std::int64_t begin = 0;
  for (const std::int64_t count : counts) {
    slices.push_back({static_cast<std::int64_t>(slices.size()), begin, count});
    begin += count;
  }
  return slices;
}

// Teams of OpenMP begun by one product per expert with W1. Each expert comes once.
std::int64_t teams_of(const std::vector<std::int64_t>& counts, std::int64_t hidden,
                      std::int64_t size) {
  const std::int64_t num_experts = static_cast<std::int64_t>(counts.size());
  const at::Tensor w1_E2FH = testing::random_normal({num_experts, 2 * size, hidden}, 1, at::kFloat);
  const std::int64_t fullest = *std::max_element(counts.begin(), counts.end());
  const at::Tensor x_NH = testing::random_normal({fullest, hidden}, 2, at::kFloat);
  std::mutex mutex;
  std::vector<std::int64_t> seen;
  const std::int64_t teams = testing::teams_begun_by([&] {
    for_each_expert(slices_of(counts), w1_E2FH, [&](const ExpertSlice& slice) {
      (void)ops::product(x_NH.narrow(0, 0, slice.count), w1_E2FH.select(0, slice.expert).t());
      const std::lock_guard lock(mutex);
      seen.push_back(slice.expert);
    });
  });
  std::sort(seen.begin(), seen.end());
  std::vector<std::int64_t> all;
  for (std::int64_t e = 0; e < num_experts; ++e) all.push_back(e);
  EXPECT_EQ(seen, all);
  return teams;
}

TEST_F(ExpertSlicesOnTwoThreads, AreHandedOutWhereThatBalances) {
  EXPECT_EQ(teams_of({100, 110, 90, 100}, 192, 192), 1);
  EXPECT_GE(teams_of({100, 10, 10, 280}, 192, 192), 2) << "most of the work is one expert's";
  EXPECT_GE(teams_of({200, 200, 200}, 192, 192), 3) << "one thread would do two of three";
}

TEST_F(ExpertSlicesOnTwoThreads, AreHandedOutWhereProductsAreSmall) {
  EXPECT_EQ(teams_of({20, 10, 10, 120}, 32, 48), 1);
  EXPECT_EQ(teams_of({100, 80}, 32, 48), 1);
  EXPECT_EQ(teams_of({1, 1}, 32, 48), 0) << "a token of a text that is generated";
  EXPECT_EQ(teams_of({20, 10, 10, 28}, 32, 48), 0) << "all together are as small";
}

TEST_F(ExpertSlicesOnTwoThreads, AreComputedByTheThreadThatCallsWhereItIsToComputeBlocks) {
  ops::install_parallel_backend(ops::Blocks::on_the_calling_thread);
  EXPECT_EQ(teams_of({20, 10, 10, 120}, 32, 48), 0);
  EXPECT_EQ(teams_of({100, 110, 90, 100}, 192, 192), 0);
}

}  // namespace
}  // namespace switchyard::moe
