#include "switchyard/ops/one_thread.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/openmp_teams.h"

namespace switchyard::ops {
namespace {

using testing::teams_begun_by;

using OneThreadOfTwo = testing::OnTwoThreads;

// Of one product. Tensors of this size begin teams of their own when they are filled.
std::int64_t teams_of_a_product(at::ScalarType dtype = at::kFloat) {
  const at::Tensor matrix = at::ones({400, 400}, dtype);
  at::Tensor product = at::empty({400, 400}, dtype);
  return teams_begun_by([&] { at::mm_out(product, matrix, matrix); });
}

// Where a CPU has no instructions for bf16, LibTorch multiplies it on one thread.
std::vector<at::ScalarType> dtypes_with_teams() {
  std::vector<at::ScalarType> dtypes{at::kFloat, at::kDouble};
  if (teams_of_a_product(at::kBFloat16) > 0) dtypes.push_back(at::kBFloat16);
  return dtypes;
}

TEST_F(OneThreadOfTwo, BeginsNoTeam) {
  const at::Tensor numbers = at::ones({1'000'000});
  for (const auto dtype : dtypes_with_teams()) {
    ASSERT_GT(teams_of_a_product(dtype), 0) << dtype;
    const OneThread alone;
    EXPECT_EQ(teams_of_a_product(dtype), 0) << dtype;
    EXPECT_EQ(teams_begun_by([&] { (void)numbers.sum(); }), 0);
  }
}

TEST_F(OneThreadOfTwo, GivesTheThreadsBack) {
  const std::vector<at::ScalarType> dtypes = dtypes_with_teams();
  {
    const OneThread alone;
    EXPECT_EQ(at::get_num_threads(), 1);
    { const OneThread inside; }
    EXPECT_EQ(at::get_num_threads(), 1);
    EXPECT_EQ(teams_of_a_product(), 0);
  }
  try {
    const OneThread alone;
    throw std::runtime_error("a product that does not fit");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(at::get_num_threads(), 2);
  for (const auto dtype : dtypes) {
    EXPECT_GT(teams_of_a_product(dtype), 0) << dtype;
  }
}

TEST_F(OneThreadOfTwo, OfOneThreadOnly) {
  const OneThread alone;
  int elsewhere = 0;
  std::thread([&] { elsewhere = at::get_num_threads(); }).join();
  EXPECT_EQ(elsewhere, 2);
}

// LibTorch sets a thread up when it is first asked, which may be here.
TEST_F(OneThreadOfTwo, OfAThreadThatComputedNothingYet) {
  std::thread([] {
    const OneThread alone;
    EXPECT_EQ(teams_of_a_product(), 0);
  }).join();
}

// A product of a thread of a team begins a team of that thread, which costs time as well.
TEST_F(OneThreadOfTwo, InsideATeam) {
  const at::Tensor matrix = at::ones({400, 400});
  const auto teams_of_two = [&](bool is_alone) {
    return teams_begun_by([&] {
      parallel_for(2, 1, [&](std::int64_t /*begin*/, std::int64_t /*end*/) {
        const OneThread alone(is_alone);
        (void)at::mm(matrix, matrix);
      });
    });
  };
  EXPECT_GT(teams_of_two(false), 1);
  EXPECT_EQ(teams_of_two(true), 1);
  EXPECT_GT(teams_of_a_product(), 0);
}

TEST_F(OneThreadOfTwo, ChangesNothingWhereItIsOff) {
  const OneThread off(false);
  EXPECT_EQ(at::get_num_threads(), 2);
  EXPECT_GT(teams_of_a_product(), 0);
}

}  // namespace
}  // namespace switchyard::ops
