#include "switchyard/ops/product.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "support/openmp_teams.h"
#include "support/tensors.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::random_normal;
using testing::teams_begun_by;

using ProductOnTwoThreads = testing::OnTwoThreads;

// Small, in blocks, and what is left to LibTorch: large, and of few rows.
constexpr std::array<std::array<std::int64_t, 3>, 4> kShapes{
    {{3, 5, 4}, {301, 40, 101}, {300, 200, 200}, {16, 300, 400}}};

TEST_F(ProductOnTwoThreads, IsThatOfItsOperands) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const double tolerance = dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 1e-4 : 0.3;
    for (const auto& [m, k, n] : kShapes) {
      const at::Tensor a = random_normal({k, m}, 1, dtype).t();
      const at::Tensor b = random_normal({k, 2 * n}, 2, dtype).narrow(1, n, n);
      const at::Tensor expected = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      expect_close(product(a, b), expected, tolerance, tolerance);
      const at::Tensor out = at::full({2, m, n}, 7.0, a.options());
      product_into(out.select(0, 1), a, b);
      expect_close(out.select(0, 1), expected, tolerance, tolerance);
      EXPECT_TRUE(out.select(0, 0).eq(7.0).all().item<bool>());
      const at::Tensor sum =
          at::full({m, n}, 2.0, a.options().dtype(dtype == at::kDouble ? dtype : at::kFloat));
      add_product(sum, a, b);
      expect_close(sum, expected + 2.0, tolerance, tolerance);
    }
  }
}

TEST_F(ProductOnTwoThreads, OfNothing) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor out = at::full({3, 4}, nan);
  product_into(out, at::empty({3, 0}), at::empty({0, 4}));
  EXPECT_TRUE(at::equal(out, at::zeros({3, 4})));
  const at::Tensor sum = at::ones({3, 4});
  add_product(sum, at::empty({3, 0}), at::empty({0, 4}));
  EXPECT_TRUE(at::equal(sum, at::ones({3, 4})));
  EXPECT_EQ(product(at::empty({0, 3}), at::ones({3, 4})).numel(), 0);
  EXPECT_EQ(product(at::ones({4, 3}), at::empty({3, 0})).numel(), 0);
}

TEST(SmallProduct, HasFewMultiplicationsAndSmallOperands) {
  EXPECT_TRUE(is_small_product(128, 32, 96));
  EXPECT_FALSE(is_small_product(0, 1 << 20, 1 << 20)) << "too many numbers to read";
  EXPECT_FALSE(is_small_product(1, 512, 512)) << "a token of a text that is generated";
  EXPECT_FALSE(is_small_product(512, 256, 256));
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_FALSE(is_small_product(kMost, kMost, kMost)) << "more than a number holds";
}

TEST_F(ProductOnTwoThreads, BeginsNoMoreTeamsThanItsSizeIsWorth) {
  const auto teams = [](std::int64_t size) {
    const at::Tensor a = random_normal({size, size}, 1, at::kFloat);
    const at::Tensor sum = at::zeros({size, size});
    return std::vector<std::int64_t>{teams_begun_by([&] { (void)product(a, a); }),
                                     teams_begun_by([&] { product_into(sum, a, a); }),
                                     teams_begun_by([&] { add_product(sum, a, a); })};
  };
  EXPECT_EQ(teams(60), std::vector<std::int64_t>({0, 0, 0}));
  EXPECT_EQ(teams(150), std::vector<std::int64_t>({1, 1, 1}));
  for (const std::int64_t count : teams(400)) EXPECT_GT(count, 0);
}

// (begin, count) of the blocks of a product, ascending.
std::vector<std::pair<std::int64_t, std::int64_t>> blocks(std::int64_t m, std::int64_t k,
                                                          std::int64_t n) {
  std::mutex mutex;
  std::vector<std::pair<std::int64_t, std::int64_t>> seen;
  for_each_row_block(at::kCPU, m, k, n, [&](std::int64_t begin, std::int64_t count) {
    const std::lock_guard lock(mutex);
    seen.emplace_back(begin, count);
  });
  std::sort(seen.begin(), seen.end());
  return seen;
}

TEST_F(ProductOnTwoThreads, SharesItsRowsEqually) {
  using Blocks = std::vector<std::pair<std::int64_t, std::int64_t>>;
  EXPECT_EQ(blocks(128, 32, 96), Blocks({{0, 128}}));
  EXPECT_EQ(blocks(132, 32, 96), Blocks({{0, 66}, {66, 66}}));
  EXPECT_EQ(blocks(128, 32, 512), Blocks({{0, 64}, {64, 64}})) << "of 64 rows at least";
  EXPECT_EQ(blocks(512, 32, 64), Blocks({{0, 128}, {128, 128}, {256, 128}, {384, 128}}));
  EXPECT_EQ(blocks(127, 100, 100), Blocks({{0, 127}})) << "few rows";
  EXPECT_EQ(blocks(512, 256, 256), Blocks({{0, 512}})) << "large";
  EXPECT_EQ(blocks(0, 5, 5), Blocks({{0, 0}}));
  for (const std::int64_t m : {130, 199, 611, 1001}) {
    std::int64_t next = 0;
    const auto all = blocks(m, 100, 50);
    for (const auto& [begin, count] : all) {
      EXPECT_EQ(begin, next);
      EXPECT_LE(count, all.front().second);
      EXPECT_GE(2 * count, all.front().second) << m << " rows";
      next += count;
    }
    EXPECT_EQ(next, m);
    EXPECT_EQ(all.size() % 2, 0U) << m << " rows";
  }
}

TEST_F(ProductOnTwoThreads, RecordsNothing) {
  for (const auto& [m, k, n] : kShapes) {
    const at::Tensor a = testing::with_grad(random_normal({m, k}, 1, at::kFloat));
    const at::Tensor b = testing::with_grad(random_normal({k, n}, 1, at::kFloat));
    EXPECT_FALSE(product(a, b).requires_grad());
  }
}

TEST(AddProduct, AddsInTheTypeOfTheSum) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor sum = at::full({2, 3}, 256.0, dtype == at::kDouble ? at::kDouble : at::kFloat);
    add_product(sum, at::ones({2, 1}, dtype), at::ones({1, 3}, dtype));
    EXPECT_TRUE(sum.eq(257.0).all().item<bool>()) << at::toString(dtype);
  }
}

TEST(AddProduct, WritesToPartsOfATensor) {
  const at::Tensor sums = at::ones({2, 2, 2});
  add_product(sums.select(0, 1), at::ones({2, 4}), at::ones({4, 2}));
  EXPECT_TRUE(sums.select(0, 0).eq(1.0).all().item<bool>());
  EXPECT_TRUE(sums.select(0, 1).eq(5.0).all().item<bool>());
}

}  // namespace
}  // namespace switchyard::ops
