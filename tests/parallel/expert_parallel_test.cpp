// Experts on several ranks compute what they compute on one: results, and every gradient.
#include "switchyard/parallel/expert_parallel.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "moe/moe_reference.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"
#include "switchyard/moe/moe_layer.h"

namespace switchyard::parallel {
namespace {

using moe::testing::expect_near_in_norm;
using moe::testing::random_normal;
using moe::testing::with_grad;

constexpr std::int64_t kExperts = 8;
constexpr std::int64_t kHidden = 6;
constexpr std::int64_t kSize = 4;

// How many experts each token of each rank gets, and by how much every token prefers expert 0.
struct Scene {
  std::string name;
  std::vector<std::vector<std::int32_t>> k_RT;
  double preference = 0.0;
};

std::vector<Scene> scenes() {
  return {
      {.name = "variable", .k_RT = {{1, 3, 0, 8, 2}, {2, 2, 1}, {4, 0, 1, 1, 1, 5, 2}, {3}}},
      {.name = "a_rank_without_tokens", .k_RT = {{2, 1, 3}, {}, {1, 1}, {}}},
      {.name = "a_rank_whose_tokens_get_no_expert", .k_RT = {{2, 1}, {0, 0, 0}, {1}, {8, 0}}},
      {.name = "all_rows_on_one_expert",
       .k_RT = {{1, 1, 1}, {1}, {1, 1}, {1, 1, 1, 1}},
       .preference = 100.0},
      {.name = "no_rows_at_all", .k_RT = {{0, 0}, {0}, {}, {0}}},
  };
}

struct Inputs {
  at::Tensor x_TH;
  ops::Routing routing;  // its weights are a leaf
  at::Tensor dy_TH;
};

Inputs inputs_of(const Scene& scene, std::int64_t rank, at::ScalarType dtype) {
  const std::vector<std::int32_t>& k_T = scene.k_RT[static_cast<std::size_t>(rank)];
  const auto num_tokens = static_cast<std::int64_t>(k_T.size());
  const auto seed = static_cast<std::uint64_t>(10 * rank);
  at::Tensor logits_TE = random_normal({num_tokens, kExperts}, seed + 1);
  logits_TE.select(1, 0).add_(scene.preference);
  Inputs inputs;
  inputs.routing =
      ops::top_k_route(logits_TE, {},
                       at::tensor({0, static_cast<std::int32_t>(num_tokens)}, at::kInt),
                       {.k_T = at::tensor(k_T, at::kInt)})
          .routing;
  inputs.routing.row_weight_N = with_grad(
      random_normal({inputs.routing.num_rows()}, seed + 2, ops::accumulation_type(dtype)).abs());
  inputs.x_TH = with_grad(random_normal({num_tokens, kHidden}, seed + 3, dtype));
  inputs.dy_TH = random_normal({num_tokens, kHidden}, seed + 4, dtype);
  return inputs;
}

// Of experts first .. first + count.
moe::ExpertWeights weights_of(std::int64_t first, std::int64_t count, at::ScalarType dtype) {
  const auto part = [&](const at::Tensor& all) {
    return with_grad(all.mul(0.3).narrow(0, first, count).contiguous().to(dtype));
  };
  return {.w1_E2FH = part(random_normal({kExperts, 2 * kSize, kHidden}, 5)),
          .w2_EHF = part(random_normal({kExperts, kHidden, kSize}, 6)),
          .sink = {}};
}

struct Results {
  at::Tensor y_TH, dx_TH, dweight_N;
  at::Tensor dw1, dw2;  // of the experts here
};

Results compute(moe::Dispatcher& dispatcher, const Inputs& inputs,
                const moe::ExpertWeights& weights) {
  const at::Tensor y_TH = dispatcher.finish(dispatcher.begin(inputs.x_TH, inputs.routing), weights);
  y_TH.backward(inputs.dy_TH);
  const auto grad_of = [](const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  };
  return {.y_TH = y_TH.detach(),
          .dx_TH = grad_of(inputs.x_TH),
          .dweight_N = grad_of(inputs.routing.row_weight_N),
          .dw1 = grad_of(weights.w1_E2FH),
          .dw2 = grad_of(weights.w2_EHF)};
}

std::shared_ptr<moe::ExpertCompute> loop(at::ScalarType dtype) {
  return moe::make_expert_compute("loop", {.dtype = dtype});
}

class ExpertsOnRanks : public ::testing::TestWithParam<Scene> {
 protected:
  // On `num_ranks` ranks, `expert` to a group, compared with one rank that holds all experts.
  static void expect_same_as_alone(std::int64_t num_ranks, std::int64_t expert,
                                   at::ScalarType dtype, double tolerance) {
    std::vector<Results> on_ranks(static_cast<std::size_t>(num_ranks));
    comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
      RankGroups groups(world, expert);
      const moe::ExpertPlacement placement = expert_placement(groups, kExperts);
      const auto dispatcher = placement.make_dispatcher({.name = "layer",
                                                         .num_experts = kExperts,
                                                         .experts = *placement.experts,
                                                         .compute = loop(dtype)});
      on_ranks[static_cast<std::size_t>(world.rank())] =
          compute(*dispatcher, inputs_of(GetParam(), world.rank(), dtype),
                  weights_of(placement.experts->first, placement.experts->count, dtype));
    });
    const auto local = moe::make_local_dispatcher(loop(dtype));
    for (std::int64_t group = 0; group < num_ranks / expert; ++group) {
      std::vector<Results> shards;
      at::Tensor dw1;
      at::Tensor dw2;
      for (std::int64_t rank = group * expert; rank < (group + 1) * expert; ++rank) {
        SCOPED_TRACE("rank " + std::to_string(rank));
        const Results& actual = on_ranks[static_cast<std::size_t>(rank)];
        const Results alone =
            compute(*local, inputs_of(GetParam(), rank, dtype), weights_of(0, kExperts, dtype));
        expect_near_in_norm(actual.y_TH, alone.y_TH, tolerance, "y");
        expect_near_in_norm(actual.dx_TH, alone.dx_TH, tolerance, "dx");
        expect_near_in_norm(actual.dweight_N, alone.dweight_N, tolerance, "dweight");
        dw1 = dw1.defined() ? dw1 + alone.dw1.to(at::kDouble) : alone.dw1.to(at::kDouble);
        dw2 = dw2.defined() ? dw2 + alone.dw2.to(at::kDouble) : alone.dw2.to(at::kDouble);
        shards.push_back(actual);
      }
      // An expert's gradient is that of all ranks of its group.
      const std::int64_t count = kExperts / expert;
      for (std::int64_t i = 0; i < expert; ++i) {
        const Results& shard = shards[static_cast<std::size_t>(i)];
        expect_near_in_norm(shard.dw1.to(at::kDouble), dw1.narrow(0, i * count, count), tolerance,
                            "dw1");
        expect_near_in_norm(shard.dw2.to(at::kDouble), dw2.narrow(0, i * count, count), tolerance,
                            "dw2");
      }
    }
  }
};

TEST_P(ExpertsOnRanks, ComputeWhatTheyComputeOnOne) {
  for (const auto& [num_ranks, expert] : {std::pair{2, 2}, {4, 2}, {4, 4}}) {
    SCOPED_TRACE(fmt::format("{}x{}", num_ranks, expert));
    expect_same_as_alone(num_ranks, expert, at::kDouble, 1e-13);
    expect_same_as_alone(num_ranks, expert, at::kFloat, 1e-5);
    expect_same_as_alone(num_ranks, expert, at::kBFloat16, 3e-2);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, ExpertsOnRanks, ::testing::ValuesIn(scenes()),
                         [](const auto& instance) { return instance.param.name; });

// The whole layer on four ranks, router and all: the sum over ranks of what each makes of its
// results, by central differences of every router weight and of every element that rank 1 brings.
struct RouterCase {
  std::string name;
  config::RouterConfig config;
  bool causal = true;

  friend void PrintTo(const RouterCase& entry, std::ostream* out) { *out << entry.name; }
};

std::vector<RouterCase> router_cases() {
  std::vector<RouterCase> cases;
  for (const std::string& type : config::router_types()) {
    cases.push_back({.name = type, .config = config::RouterConfig(type)});
  }
  cases.push_back(
      {.name = "top_p_of_all", .config = config::RouterConfig(config::TopPOptions{.p = 1.0})});
  cases.push_back({.name = "budget_of_what_is_received",
                   .config = config::RouterConfig(config::AttentionImportanceOptions{
                       .importance = "attention_received", .allocation = "budget"}),
                   .causal = false});
  return cases;
}

class RouterAcrossRanks : public ::testing::TestWithParam<RouterCase> {
 protected:
  static constexpr std::int64_t kTokens = 5;

  struct Gradients {
    double loss = 0.0;
    at::Tensor router_EH;  // summed over ranks
    at::Tensor x_TH;       // rank 1's
  };

  // `moved`: added to the router's weight on all ranks, and to rank 1's states.
  static Gradients run(const at::Tensor& moved_router_EH, const at::Tensor& moved_x_TH,
                       bool differentiate) {
    Gradients result;
    comm::run_ranks(4, [&](comm::Communicator& world) {
      RankGroups groups(world, 4);
      config::MoeConfig config;
      config.num_experts = kExperts;
      config.expert_size = kSize;
      moe::MoeLayer layer(config, GetParam().config,
                          {.name = "layer",
                           .hidden_size = kHidden,
                           .causal = GetParam().causal,
                           .sequence_length = kTokens,
                           .precision = {.compute = at::kDouble},
                           .placement = expert_placement(groups, kExperts)});
      for (ops::Parameter* parameter : layer.parameters()) {
        parameter->init_std = 0.6;
        ops::initialize(*parameter, 3);
      }
      layer.router().weight().value.detach().add_(moved_router_EH);
      at::Tensor x_TH =
          random_normal({kTokens, kHidden}, static_cast<std::uint64_t>(world.rank()) + 20);
      if (world.rank() == 1) x_TH.add_(moved_x_TH);
      x_TH = with_grad(x_TH);
      routing::RouterInput input;
      input.x_TH = x_TH;
      input.importance_T = random_normal({kTokens}, 30).abs();
      input.sequence_offset_B1 = at::tensor({0, 2, static_cast<std::int32_t>(kTokens)}, at::kInt);
      input.training = true;
      const at::Tensor y_TH = layer.forward(input).y_TH;
      const at::Tensor loss =
          y_TH.mul(random_normal({kTokens, kHidden}, static_cast<std::uint64_t>(world.rank()) + 40))
              .sum();
      at::Tensor sum = loss.detach().clone();
      world.all_reduce_sum(sum, "loss");
      if (differentiate) {
        loss.backward();
        at::Tensor router = layer.router().weight().value.grad().clone();
        world.all_reduce_sum(router, "router");
        if (world.rank() == 0) result.router_EH = router;
        if (world.rank() == 1) result.x_TH = x_TH.grad();
      }
      if (world.rank() == 0) result.loss = sum.item<double>();
    });
    return result;
  }

  static void expect_differences(const at::Tensor& gradient, bool of_router) {
    constexpr double kStep = 1e-6;
    const at::Tensor no_router = at::zeros({kExperts, kHidden}, at::kDouble);
    const at::Tensor no_x = at::zeros({kTokens, kHidden}, at::kDouble);
    for (std::int64_t i = 0; i < gradient.numel(); i += 3) {
      const auto loss_at = [&](double by) {
        at::Tensor moved = at::zeros_like(gradient);
        moved.view({-1})[i] = by;
        return of_router ? run(moved, no_x, false).loss : run(no_router, moved, false).loss;
      };
      const double numeric = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      EXPECT_NEAR(gradient.reshape({-1})[i].item<double>(), numeric,
                  1e-6 * std::max(1.0, std::abs(numeric)))
          << (of_router ? "router" : "x") << " element " << i;
    }
  }
};

TEST_P(RouterAcrossRanks, HasTheGradientThatDifferencesShow) {
  const Gradients gradients = run(at::zeros({kExperts, kHidden}, at::kDouble),
                                  at::zeros({kTokens, kHidden}, at::kDouble), true);
  expect_differences(gradients.router_EH, true);
  expect_differences(gradients.x_TH, false);
}

INSTANTIATE_TEST_SUITE_P(Of, RouterAcrossRanks, ::testing::ValuesIn(router_cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST(ExpertPlacement, OfAGroupOfOneRankExchangesNothing) {
  const auto self = comm::make_self_communicator();
  RankGroups groups(*self, 1);
  const moe::ExpertPlacement placement = expert_placement(groups, kExperts);
  EXPECT_FALSE(placement.experts.has_value());
  EXPECT_FALSE(placement.make_dispatcher);
}

TEST(ExpertPlacement, RefusesExpertsThatCannotBeSharedOut) {
  comm::run_ranks(4, [](comm::Communicator& world) {
    RankGroups groups(world, 4);
    EXPECT_THROW((void)expert_placement(groups, 6), UsageError);
    const moe::ExpertPlacement placement = expert_placement(groups, kExperts);
    EXPECT_THROW((void)placement.make_dispatcher({.name = "layer",
                                                  .num_experts = kExperts,
                                                  .experts = {.first = 0, .count = 3},
                                                  .compute = loop(at::kDouble)}),
                 InternalError);
  });
}

}  // namespace
}  // namespace switchyard::parallel
