#include "switchyard/ops/dropout.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "support/gradient.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::random_normal;
using testing::with_grad;

const DropoutPlace kPlace{.seed = 5, .step = 3, .layer = 2, .site = 1};

TEST(Dropout, GradientsMatchDifferences) {
  testing::expect_gradients_match(
      [](const std::vector<at::Tensor>& in) {
        return (dropout(in[0], at::arange(4, at::kLong), 0.4, kPlace) * random_normal({4, 10}, 2))
            .sum();
      },
      {with_grad(random_normal({4, 10}, 1))});
}

TEST(Dropout, TheMaskFollowsTheTokenNotItsPlaceInTheBatch) {
  const at::Tensor x = at::ones({6, 32});
  const at::Tensor idx = at::arange(100, 106, at::kLong);
  const at::Tensor whole = dropout(x, idx, 0.5, kPlace);
  const at::Tensor parts = at::cat({dropout(x.narrow(0, 0, 2), idx.narrow(0, 0, 2), 0.5, kPlace),
                                    dropout(x.narrow(0, 2, 4), idx.narrow(0, 2, 4), 0.5, kPlace)});
  EXPECT_TRUE(at::equal(whole, parts));
}

TEST(Dropout, EveryPartOfThePlaceChangesTheMask) {
  const at::Tensor x = at::ones({2, 64});
  const at::Tensor idx = at::arange(2, at::kLong);
  const at::Tensor mask = dropout(x, idx, 0.5, kPlace);
  EXPECT_TRUE(at::equal(mask, dropout(x, idx, 0.5, kPlace)));
  EXPECT_FALSE(at::equal(mask[0], mask[1]));
  for (const DropoutPlace& other :
       {DropoutPlace{6, 3, 2, 1}, DropoutPlace{5, 4, 2, 1}, DropoutPlace{5, 3, 3, 1},
        DropoutPlace{5, 3, 2, 2}, DropoutPlace{5 + (1LL << 32), 3, 2, 1}}) {
    EXPECT_FALSE(at::equal(mask, dropout(x, idx, 0.5, other)));
  }
}

TEST(Dropout, RateZeroIsTheInputItself) {
  const at::Tensor x = at::ones({2, 4});
  EXPECT_TRUE(dropout(x, {}, 0.0, kPlace).is_same(x));
}

TEST(Dropout, ArgumentsOutOfRangeAreRefused) {
  const at::Tensor x = at::ones({2, 4});
  const at::Tensor idx = at::arange(2, at::kLong);
  EXPECT_THROW((void)dropout(x, idx, 1.0, kPlace), InternalError);
  EXPECT_THROW((void)dropout(x, idx, -0.1, kPlace), InternalError);
  EXPECT_THROW((void)dropout(x, {}, 0.1, kPlace), InternalError);
  EXPECT_THROW((void)dropout(x, idx, 0.1, {.layer = 1 << 24}), InternalError);
  EXPECT_THROW((void)dropout(x, idx, 0.1, {.site = 256}), InternalError);
}

}  // namespace
}  // namespace switchyard::ops
