// Gradients that say where they come from: a function of (rank, element), so that a sum over the
// wrong ranks shows.
#include "switchyard/parallel/gradients.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "switchyard/comm/beside.h"
#include "switchyard/comm/self.h"
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

class GradientsOfRanks : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool shares_out() { return GetParam(); }
};

// What a rank updates has the sums, and the ranks that hold the same update all of it, each element
// once.
TEST_P(GradientsOfRanks, AreAddedUpOverTheRanksThatHoldTheSame) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    Gradients gradients(model.parameters, groups, shares_out());
    model.set_gradients_of(world.rank());
    gradients.reduce();
    std::map<ops::Parameter*, at::Tensor> num_updated;
    for (ops::Parameter* each : model.parameters) {
      num_updated[each] = at::zeros({each->numel()}, at::kLong);
    }
    for (const optim::Slice& slice : gradients.slices()) {
      const std::int64_t first = world.rank() % 2;
      const bool is_dense = slice.parameter->replicas == ops::ReplicaGroup::all_ranks;
      const std::vector<std::int64_t> ranks = is_dense
                                                  ? std::vector<std::int64_t>{0, 1, 2, 3}
                                                  : std::vector<std::int64_t>{first, first + 2};
      const at::Tensor sum = sum_over(ranks, slice.parameter->grad).view({-1});
      EXPECT_TRUE(at::equal(slice.gradient(), sum.narrow(0, slice.begin, slice.count)))
          << slice.parameter->name;
      num_updated[slice.parameter].narrow(0, slice.begin, slice.count).add_(1);
    }
    for (auto& [parameter, count] : num_updated) {
      comm::Communicator& replicas = groups.replicas(*parameter);
      replicas.all_reduce_sum(count, "updates");
      const std::int64_t expected = shares_out() ? 1 : replicas.size();
      EXPECT_TRUE(at::equal(count, at::full_like(count, expected))) << parameter->name;
    }
  });
}

// Adds its gradient into the weight's buffer, not through autograd, as experts do.
class IntoBuffer : public torch::autograd::Function<IntoBuffer> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& buffer) {
    ctx->saved_data["buffer"] = buffer;
    return x.add(weight.detach().sum());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    ctx->saved_data["buffer"].toTensor().add_(grads[0]);
    return {grads[0], {}, {}};
  }
};

// First the dense parameter, then the experts, hence backward the other way round; both get
// gradients of `factor`.
struct TwoBuffers {
  ops::Parameter dense = Model::parameter("dense", {3, 5}, ops::ReplicaGroup::all_ranks);
  ops::Parameter experts = Model::parameter("experts", {70}, ops::ReplicaGroup::expert_replicas);
  std::vector<ops::Parameter*> parameters{&dense, &experts};

  TwoBuffers() {
    for (ops::Parameter* each : parameters) each->master.fill_(1.0);
  }
  void backward(double factor) {
    const at::Tensor x = dense.value.sum();
    IntoBuffer::apply(x, experts.value, experts.grad).mul(factor).backward();
  }
};

void expect_gradients(const Gradients& gradients, const ops::Parameter& of, double value) {
  for (const optim::Slice& slice : gradients.slices()) {
    if (slice.parameter != &of) continue;
    EXPECT_TRUE(at::equal(slice.gradient(), at::full_like(slice.gradient(), value))) << of.name;
  }
}

TEST_P(GradientsOfRanks, AreAddedUpWhileBackwardGoesOn) {
  for (const bool on_a_thread : {false, true}) {
    comm::run_ranks(4, [on_a_thread](comm::Communicator& ranks) {
      const std::unique_ptr<comm::Communicator> threaded = comm::beside(ranks);
      comm::Communicator& world = on_a_thread ? *threaded : ranks;
      RankGroups groups(world, 2);
      TwoBuffers model;
      Gradients gradients(model.parameters, groups, shares_out());
      const auto rank = static_cast<double>(world.rank());
      const double of_experts = 2.0 * static_cast<double>(world.rank() % 2) + 2.0 + 2.0;
      for (int step = 0; step < 3; ++step) {
        SCOPED_TRACE(step);
        for (ops::Parameter* each : model.parameters) ops::zero_grad(*each);
        // Two micro-steps; the first adds up nothing.
        model.backward(0.25 * (1.0 + rank));
        for (ops::Parameter* each : model.parameters) ops::collect_grad(*each);
        gradients.begin_last_backward();
        model.backward(0.75 * (1.0 + rank));
        // The first pass shows what comes.
        if (step > 0 && !on_a_thread) expect_gradients(gradients, model.experts, of_experts);
        for (ops::Parameter* each : model.parameters) ops::collect_grad(*each);
        gradients.reduce();
        expect_gradients(gradients, model.experts, of_experts);
        expect_gradients(gradients, model.dense, 1.0 + 2.0 + 3.0 + 4.0);
      }
    });
  }
}

// A rank that fails while others are late leaves what it has begun.
TEST_P(GradientsOfRanks, ARankThatFailsMeanwhileEndsAllWithItsError) {
  const auto run = [] {
    comm::run_ranks(4, [](comm::Communicator& ranks) {
      const std::unique_ptr<comm::Communicator> world = comm::beside(ranks);
      RankGroups groups(*world, 2);
      TwoBuffers model;
      Gradients gradients(model.parameters, groups, shares_out());
      for (int step = 0; step < 2; ++step) {
        for (ops::Parameter* each : model.parameters) ops::zero_grad(*each);
        // Rank 3 waits for the others, which wait for it.
        if (step == 1 && world->rank() == 3) world->barrier("never");
        gradients.begin_last_backward();
        model.backward(1.0);
        if (step == 1 && world->rank() == 0) throw StorageError("the disk of rank 0", "another");
        gradients.reduce();
      }
    });
  };
  EXPECT_THROW(run(), StorageError);
}

TEST_P(GradientsOfRanks, AreNotLostWhereTheyComeLate) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    TwoBuffers model;
    Gradients gradients(model.parameters, groups, shares_out());
    const auto step = [&](int num_passes) {
      for (ops::Parameter* each : model.parameters) ops::zero_grad(*each);
      gradients.begin_last_backward();
      for (int pass = 0; pass < num_passes; ++pass) model.backward(1.0);
      gradients.reduce();
    };
    step(1);
    EXPECT_THROW(step(2), InternalError) << "the experts' were added up after the first";
    step(2);  // what came last time is what comes
    expect_gradients(gradients, model.experts, 4.0);
    expect_gradients(gradients, model.dense, 8.0);
  });
}

// A parameter that nothing came for is added up all the same, and so is one that had nothing
// before.
TEST_P(GradientsOfRanks, MayComeInOneStepAndNotInAnother) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    TwoBuffers model;
    Gradients gradients(model.parameters, groups, shares_out());
    for (const bool with_experts : {false, true, true, false, true}) {
      for (ops::Parameter* each : model.parameters) ops::zero_grad(*each);
      gradients.begin_last_backward();
      if (with_experts) {
        model.backward(1.0);
      } else {
        model.dense.value.sum().backward();
      }
      for (ops::Parameter* each : model.parameters) ops::collect_grad(*each);
      gradients.reduce();
      expect_gradients(gradients, model.experts, with_experts ? 2.0 : 0.0);
      expect_gradients(gradients, model.dense, 4.0);
    }
  });
}

// Parameters that no bucket takes with others, and those that share one.
TEST_P(GradientsOfRanks, StayTheParametersOwnBuffers) {
  comm::run_ranks(2, [](comm::Communicator& world) {
    RankGroups groups(world, 1);
    Model model;
    const Gradients gradients(model.parameters, groups, shares_out());
    for (ops::Parameter* each : model.parameters) {
      const at::Tensor before = each->grad;
      EXPECT_EQ(each->grad.sizes(), each->master.sizes());
      ops::zero_grad(*each);
      EXPECT_TRUE(each->grad.is_same(before)) << each->name;
    }
  });
}

// Each rank moves its slices; then all have what one rank alone would have.
TEST_P(GradientsOfRanks, MastersAreGatheredFromWhoUpdatedThem) {
  // With two ranks a part holds several parameters, and the end of one.
  for (const auto& [num_ranks, expert] : {std::pair{4, 2}, std::pair{2, 1}, std::pair{3, 3}}) {
    comm::run_ranks(num_ranks, [expert = expert](comm::Communicator& world) {
      RankGroups groups(world, expert);
      Model model;
      Gradients gradients(model.parameters, groups, shares_out());
      for (ops::Parameter* each : model.parameters) each->master.fill_(-1.0);
      for (const optim::Slice& slice : gradients.slices()) {
        slice.master().copy_(at::arange(slice.begin, slice.begin + slice.count, at::kDouble));
      }
      gradients.gather_masters();
      for (const ops::Parameter* each : model.parameters) {
        EXPECT_TRUE(
            at::equal(each->master.detach().view({-1}), at::arange(each->numel(), at::kDouble)))
            << each->name << " on " << world.size() << " ranks";
      }
    });
  }
}

// Two ranks to an expert group: the model's gradient is the dense one once and both halves of the
// experts.
TEST_P(GradientsOfRanks, NormCountsEveryParameterOnceWhateverTheLayout) {
  std::mutex mutex;
  std::set<double> norms;
  double expected = 0.0;
  comm::run_ranks(4, [&](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    Gradients gradients(model.parameters, groups, shares_out());
    model.set_gradients_of(world.rank());
    gradients.reduce();
    const double norm = gradients.norms().total;
    const auto squares = [](const at::Tensor& grad) { return grad.square().sum().item<double>(); };
    const std::scoped_lock lock(mutex);
    norms.insert(norm);
    if (world.rank() != 0) return;
    const std::vector<std::int64_t> all{0, 1, 2, 3};
    expected = std::sqrt(squares(sum_over(all, model.dense.grad)) +
                         squares(sum_over(all, model.norm.grad)) +
                         squares(sum_over({0, 2}, model.experts.grad)) +
                         squares(sum_over({1, 3}, model.experts.grad)));
  });
  ASSERT_EQ(norms.size(), 1U) << "ranks disagree";
  EXPECT_NEAR(*norms.begin(), expected, 1e-12 * expected);
}

TEST_P(GradientsOfRanks, NormsOfParametersAreOfWhatIsHeldHere) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    Gradients gradients(model.parameters, groups, shares_out());
    model.set_gradients_of(world.rank());
    gradients.reduce();
    const optim::GradNorms norms = gradients.norms();
    ASSERT_EQ(norms.of_parameter.size(), model.parameters.size());
    const std::int64_t first = world.rank() % 2;
    for (std::size_t i = 0; i < model.parameters.size(); ++i) {
      const ops::Parameter& parameter = *model.parameters[i];
      const bool is_dense = parameter.replicas == ops::ReplicaGroup::all_ranks;
      const at::Tensor sum = sum_over(is_dense ? std::vector<std::int64_t>{0, 1, 2, 3}
                                               : std::vector<std::int64_t>{first, first + 2},
                                      parameter.grad);
      const double expected = std::sqrt(sum.square().sum().item<double>());
      EXPECT_NEAR(norms.of_parameter[i], expected, 1e-12 * expected) << parameter.name;
    }
  });
}

TEST_P(GradientsOfRanks, AreClippedByTheNormOfAllOfThem) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    Gradients gradients(model.parameters, groups, shares_out());
    model.set_gradients_of(world.rank());
    gradients.reduce();
    const double norm = gradients.norms().total;
    gradients.clip(norm, norm);
    EXPECT_EQ(gradients.norms().total, norm) << "not larger than allowed";
    gradients.clip(norm, norm / 4.0);
    EXPECT_NEAR(gradients.norms().total, norm / 4.0, 1e-12 * norm);
  });
}

TEST_P(GradientsOfRanks, NormIsNotFiniteOnAnyRankWhenOneElementOfOneExpertIsNot) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    comm::run_ranks(4, [&](comm::Communicator& world) {
      RankGroups groups(world, 2);
      Model model;
      Gradients gradients(model.parameters, groups, shares_out());
      model.set_gradients_of(world.rank());
      if (world.rank() == 3) model.experts.grad[kLarge - 1].fill_(bad);
      gradients.reduce();
      EXPECT_FALSE(std::isfinite(gradients.norms().total)) << world.rank();
    });
  }
}

// Unlike CPUs add up in other orders: ranks that clip by other numbers drift apart.
TEST_P(GradientsOfRanks, NormIsTheSameBitsOnAllRanksThoughTheirOwnSumsDiffer) {
  std::mutex mutex;
  std::set<double> totals;
  comm::run_ranks(4, [&](comm::Communicator& world) {
    RankGroups groups(world, 2);
    Model model;
    Gradients gradients(model.parameters, groups, shares_out());
    model.set_gradients_of(0);
    gradients.reduce();
    for (ops::Parameter* parameter : model.parameters) {
      parameter->grad.mul_(1.0 + 1e-9 * static_cast<double>(world.rank()));
    }
    const double total = gradients.norms().total;
    const std::scoped_lock lock(mutex);
    totals.insert(total);
  });
  EXPECT_EQ(totals.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(All, GradientsOfRanks, ::testing::Bool(), [](const auto& instance) {
  return instance.param ? "shared_out" : "whole";
});

TEST(GradientsOfOneRank, HaveTheBitsOfTheNormWithoutRanksAndNeedNobody) {
  Model alone;
  alone.set_gradients_of(2);
  const double expected = optim::grad_norms(alone.parameters).total;
  for (const bool shares_out : {false, true}) {
    const auto self = comm::make_self_communicator();
    RankGroups groups(*self, 1);
    Model model;
    Gradients gradients(model.parameters, groups, shares_out);
    model.set_gradients_of(2);
    gradients.reduce();
    EXPECT_EQ(gradients.norms().total, expected);
    EXPECT_EQ(gradients.slices().size(), model.parameters.size());
  }
}

}  // namespace
}  // namespace switchyard::parallel
