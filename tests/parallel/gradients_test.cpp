// Gradients that say where they come from: a function of (rank, element), so that a sum over the
// wrong ranks shows.
#include "switchyard/parallel/gradients.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <set>
#include <vector>

#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"
#include "switchyard/optim/grad_norm.h"

namespace switchyard::parallel {
namespace {

constexpr std::int64_t kLarge = 20000;  // more than a block of the norm

struct Model {
  ops::Parameter dense = parameter("dense", {3, 5}, ops::ReplicaGroup::all_ranks);
  ops::Parameter experts = parameter("experts", {kLarge}, ops::ReplicaGroup::expert_replicas);
  ops::Parameter norm = parameter("norm", {7}, ops::ReplicaGroup::all_ranks);
  std::vector<ops::Parameter*> parameters{&dense, &experts, &norm};

  static ops::Parameter parameter(const char* name, std::vector<std::int64_t> shape,
                                  ops::ReplicaGroup replicas) {
    return ops::make_parameter({.name = name, .shape = std::move(shape), .replicas = replicas},
                               {.compute = at::kDouble});
  }

  // Element i of rank r: (1 + r) + i / 1024, exact under addition.
  void set_gradients_of(std::int64_t rank) {
    for (ops::Parameter* each : parameters) {
      ops::zero_grad(*each);
      each->grad.copy_(at::arange(each->numel(), at::kDouble)
                           .div_(1024.0)
                           .add_(1.0 + static_cast<double>(rank))
                           .view(each->grad.sizes()));
    }
  }
};

at::Tensor sum_over(const std::vector<std::int64_t>& ranks, const at::Tensor& like) {
  double ones = 0.0;
  for (const std::int64_t rank : ranks) ones += 1.0 + static_cast<double>(rank);
  return at::arange(like.numel(), at::kDouble)
      .div_(1024.0)
      .mul_(static_cast<double>(ranks.size()))
      .add_(ones)
      .view(like.sizes());
}

TEST(ReduceGradients, AddsUpOverTheRanksThatHoldTheSame) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    model.set_gradients_of(world.rank());
    reduce_gradients(model.parameters, groups);
    for (const ops::Parameter* each : {&model.dense, &model.norm}) {
      EXPECT_TRUE(at::equal(each->grad, sum_over({0, 1, 2, 3}, each->grad))) << each->name;
    }
    const std::int64_t first = world.rank() % 2;
    EXPECT_TRUE(at::equal(model.experts.grad, sum_over({first, first + 2}, model.experts.grad)));
  });
}

TEST(ReduceGradients, AParameterWithoutABufferIsABugOnEveryRank) {
  EXPECT_THROW(comm::run_ranks(2,
                               [](comm::Communicator& world) {
                                 RankGroups groups(world, 1);
                                 Model model;
                                 model.set_gradients_of(world.rank());
                                 if (world.rank() == 1) model.norm.grad = at::Tensor();
                                 reduce_gradients(model.parameters, groups);
                               }),
               InternalError);
}

// Two ranks to an expert group: the model's gradient is the dense one once and both halves of the
// experts.
TEST(GradNorm, CountsEveryParameterOnceWhateverTheLayout) {
  Model whole;
  whole.set_gradients_of(0);
  Model other;
  other.set_gradients_of(1);
  const auto squares = [](const at::Tensor& grad) { return grad.square().sum().item<double>(); };
  const double expected = std::sqrt(squares(whole.dense.grad) + squares(whole.norm.grad) +
                                    squares(whole.experts.grad) + squares(other.experts.grad));
  std::mutex mutex;
  std::set<double> norms;
  comm::run_ranks(4, [&](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    model.set_gradients_of(0);
    if (world.rank() % 2 == 1) model.experts.grad.copy_(other.experts.grad);
    const double norm = grad_norms(model.parameters, groups).total;
    const std::scoped_lock lock(mutex);
    norms.insert(norm);
  });
  ASSERT_EQ(norms.size(), 1U) << "ranks disagree";
  EXPECT_NEAR(*norms.begin(), expected, 1e-12 * expected);
}

TEST(GradNorm, OfRanksThatHoldEverythingHasTheBitsOfOneRank) {
  Model alone;
  alone.set_gradients_of(2);
  const double expected = optim::grad_norms(alone.parameters).total;
  comm::run_ranks(3, [&](comm::Communicator& world) {
    RankGroups groups(world, 1);
    Model model;
    model.set_gradients_of(2);
    EXPECT_EQ(grad_norms(model.parameters, groups).total, expected);
  });
}

TEST(GradNorm, IsNotFiniteOnAnyRankWhenOneElementOfOneExpertIsNot) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    comm::run_ranks(4, [&](comm::Communicator& world) {
      RankGroups groups(world, 2);
      Model model;
      model.set_gradients_of(world.rank());
      if (world.rank() == 3) model.experts.grad[kLarge - 1].fill_(bad);
      reduce_gradients(model.parameters, groups);
      EXPECT_FALSE(std::isfinite(grad_norms(model.parameters, groups).total)) << world.rank();
    });
  }
}

}  // namespace
}  // namespace switchyard::parallel
