#include "switchyard/optim/adamw.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>

#include "optim/parameters.h"
#include "support/openmp_teams.h"
#include "switchyard/core/error.h"

namespace switchyard::optim {
namespace {

// The equations of Loshchilov & Hutter for one number, in double.
struct ScalarAdamW {
  double weight = 0.0;
  double first = 0.0;
  double second = 0.0;
  int updates = 0;

  void step(double grad, double lr, double weight_decay, const config::OptimConfig& config) {
    const double beta1 = config.betas[0];
    const double beta2 = config.betas[1];
    ++updates;
    weight -= lr * weight_decay * weight;
    first = beta1 * first + (1.0 - beta1) * grad;
    second = beta2 * second + (1.0 - beta2) * grad * grad;
    const double first_hat = first / (1.0 - std::pow(beta1, updates));
    const double second_hat = second / (1.0 - std::pow(beta2, updates));
    weight -= lr * first_hat / (std::sqrt(second_hat) + config.eps);
  }
};

struct AdamWCase {
  at::ScalarType compute;
  double tolerance;
};

class AdamWMatches : public ::testing::TestWithParam<AdamWCase> {};

// Two parameters (one decayed, one not), several steps, each element against the scalar equations.
TEST_P(AdamWMatches, TheScalarEquationsForBothDecayGroups) {
  const ops::PrecisionPolicy policy{.compute = GetParam().compute};
  const config::OptimConfig config{};
  auto decayed = wave_parameter("decayed", {5, 13}, true, policy, 0.3);
  auto plain = wave_parameter("plain", {37}, false, policy, 1.1);
  AdamW optimizer(whole({decayed.get(), plain.get()}), config);

  std::vector<ScalarAdamW> expected;
  for (const Slice& slice : optimizer.slices()) {
    ops::Parameter* const parameter = slice.parameter;
    const at::Tensor start = parameter->master.detach().to(at::kDouble).flatten();
    for (std::int64_t i = 0; i < start.numel(); ++i) {
      expected.push_back({.weight = start[i].item<double>()});
    }
  }
  for (int step = 1; step <= 7; ++step) {
    const double lr = 0.01 / step;
    std::size_t at = 0;
    for (const Slice& slice : optimizer.slices()) {
      ops::Parameter* const parameter = slice.parameter;
      const double phase = step + (parameter->decay ? 0.0 : 0.5);
      parameter->grad.copy_(wave(parameter->grad.sizes().vec(), phase, at::kDouble));
      const at::Tensor grad = parameter->grad.to(at::kDouble).flatten();
      for (std::int64_t i = 0; i < grad.numel(); ++i) {
        expected[at++].step(grad[i].item<double>(), lr,
                            parameter->decay ? config.weight_decay : 0.0, config);
      }
    }
    optimizer.step(lr);
  }
  EXPECT_EQ(optimizer.num_updates(), 7);
  std::size_t at = 0;
  for (const Slice& slice : optimizer.slices()) {
    ops::Parameter* const parameter = slice.parameter;
    const at::Tensor master = parameter->master.detach().to(at::kDouble).flatten();
    for (std::int64_t i = 0; i < master.numel(); ++i, ++at) {
      EXPECT_NEAR(master[i].item<double>(), expected[at].weight, GetParam().tolerance)
          << parameter->name << "[" << i << "]";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, AdamWMatches,
                         ::testing::Values(AdamWCase{at::kDouble, 1e-12},
                                           AdamWCase{at::kFloat, 2e-6},
                                           AdamWCase{at::kBFloat16, 2e-6}),
                         [](const auto& instance) { return toString(instance.param.compute); });

TEST(AdamW, ASliceMovesByItsPartOfTheLearningRate) {
  const ops::PrecisionPolicy policy{.compute = at::kDouble};
  const config::OptimConfig config{};
  auto scaled = wave_parameter("a", {5, 3}, true, policy, 0.3);
  auto slow = wave_parameter("a", {5, 3}, true, policy, 0.3);
  auto still = wave_parameter("a", {5, 3}, true, policy, 0.3);
  const at::Tensor start = still->master.detach().clone();
  std::vector<Slice> slices = whole({scaled.get(), still.get()});
  slices[0].learning_rate_scale = 0.25;
  slices[1].learning_rate_scale = 0.0;
  AdamW by_scale(std::move(slices), config);
  AdamW by_rate(whole({slow.get()}), config);
  for (int step = 1; step <= 3; ++step) {
    for (ops::Parameter* parameter : {scaled.get(), slow.get(), still.get()}) {
      parameter->grad.copy_(wave({5, 3}, step, at::kDouble));
    }
    by_scale.step(0.01);
    by_rate.step(0.0025);
  }
  EXPECT_TRUE(at::equal(scaled->master.detach(), slow->master.detach()));
  EXPECT_TRUE(at::equal(still->master.detach(), start)) << "not even decay";
}

TEST(AdamW, PublishesTheRoundedMasterToTheForwardValue) {
  const ops::PrecisionPolicy policy{.compute = at::kBFloat16};
  auto parameter = wave_parameter("w", {64}, true, policy, 0.0);
  parameter->grad.fill_(1.0);
  AdamW optimizer(whole({parameter.get()}), {});
  optimizer.step(0.25);
  EXPECT_EQ(parameter->value.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(parameter->value.detach(), parameter->master.to(at::kBFloat16)));
  EXPECT_FALSE(at::equal(parameter->master, wave({64}, 0.0, at::kFloat)));
}

TEST(AdamW, ZeroGradientOnlyDecays) {
  const ops::PrecisionPolicy policy{.compute = at::kDouble};
  auto decayed = wave_parameter("decayed", {8}, true, policy, 0.3);
  auto plain = wave_parameter("plain", {8}, false, policy, 0.3);
  const config::OptimConfig config{};
  AdamW optimizer(whole({decayed.get(), plain.get()}), config);
  optimizer.step(0.5);
  const at::Tensor start = wave({8}, 0.3, at::kDouble);
  EXPECT_TRUE(at::equal(plain->master.detach(), start));
  const at::Tensor difference =
      (decayed->master.detach().sub(start.mul(1.0 - 0.5 * config.weight_decay))).abs().max();
  EXPECT_LT(difference.item<double>(), 1e-15);
}

TEST(AdamW, ReloadedMomentsContinueBitForBit) {
  const ops::PrecisionPolicy policy{};
  auto one = wave_parameter("w", {50}, true, policy, 0.3);
  AdamW first(whole({one.get()}), {});
  one->grad.copy_(wave({50}, 2.0, at::kFloat));
  first.step(0.01);

  auto two = wave_parameter("w", {50}, true, policy, 0.0);
  two->master.detach().copy_(one->master.detach());
  AdamW second(whole({two.get()}), {});
  second.moments()[0].first.copy_(first.moments()[0].first);
  second.moments()[0].second.copy_(first.moments()[0].second);
  second.set_num_updates(first.num_updates());
  for (ops::Parameter* parameter : {one.get(), two.get()}) {
    parameter->grad.copy_(wave({50}, 5.0, at::kFloat));
  }
  first.step(0.02);
  second.step(0.02);
  EXPECT_TRUE(at::equal(one->master.detach(), two->master.detach()));
}

TEST(AdamW, MissingGradientBufferIsABug) {
  auto parameter = wave_parameter("w", {4}, true, {}, 0.0);
  parameter->grad = at::Tensor();
  AdamW optimizer(whole({parameter.get()}), {});
  EXPECT_THROW(optimizer.step(0.1), InternalError);
}

using AdamWOnTwoThreads = testing::OnTwoThreads;

TEST_F(AdamWOnTwoThreads, HandsOnlyLargeParametersToThreads) {
  const ops::PrecisionPolicy policy{.compute = at::kFloat};
  const auto small = wave_parameter("small", {100, 100}, true, policy, 0.3);
  const auto other = wave_parameter("other", {100}, false, policy, 0.3);
  const auto large = wave_parameter("large", {400, 400}, true, policy, 0.3);
  const auto teams = [](std::vector<ops::Parameter*> parameters) {
    AdamW optimizer(whole(parameters), {});
    return testing::teams_begun_by([&] { optimizer.update(0.01); });
  };
  EXPECT_EQ(teams({small.get(), other.get()}), 0);
  EXPECT_EQ(teams({small.get(), large.get(), other.get()}), teams({large.get()}));
  EXPECT_GT(teams({large.get()}), 0);
}

// The first numbers of a large one and a small one that consists of them.
TEST(AdamW, UpdatesSmallAndLargeParametersAlike) {
  const ops::PrecisionPolicy policy{.compute = at::kFloat};
  const auto small = wave_parameter("small", {100}, true, policy, 0.3);
  const auto large = wave_parameter("large", {20'000}, true, policy, 0.3);
  AdamW optimizer(whole({small.get(), large.get()}), {});
  for (int step = 0; step < 3; ++step) {
    small->grad.fill_(0.25 * (step - 1));
    large->grad.fill_(0.25 * (step - 1));
    optimizer.update(0.01);
  }
  EXPECT_TRUE(at::equal(small->master, large->master.narrow(0, 0, 100)));
}

}  // namespace
}  // namespace switchyard::optim
