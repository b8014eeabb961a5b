#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "switchyard/comm/communicator.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

TEST(SelfCommunicator, IsRankZeroOfOne) {
  const auto self = make_self_communicator();
  EXPECT_EQ(self->rank(), 0);
  EXPECT_EQ(self->size(), 1);
  self->barrier("start");
}

TEST(SelfCommunicator, CollectivesKeepTheTensor) {
  const auto self = make_self_communicator();
  at::Tensor tensor = at::arange(5, at::kLong);
  self->all_reduce_sum(tensor, "counts");
  self->broadcast(tensor, 0, "counts");
  EXPECT_TRUE(at::equal(tensor, at::arange(5, at::kLong)));
}

TEST(SelfCommunicator, RefusesWhatOtherCommunicatorsCouldNotSend) {
  const auto self = make_self_communicator();
  at::Tensor undefined;
  EXPECT_THROW(self->all_reduce_sum(undefined, "x"), InternalError);
  at::Tensor strided = at::ones({2, 3}).t();
  EXPECT_THROW(self->all_reduce_sum(strided, "x"), InternalError);
  at::Tensor differentiable = at::ones({2}).requires_grad_();
  EXPECT_THROW(self->all_reduce_sum(differentiable, "x"), InternalError);
  at::Tensor fine = at::ones({2});
  EXPECT_THROW(self->broadcast(fine, 1, "x"), InternalError);
}

}  // namespace
}  // namespace switchyard::comm
