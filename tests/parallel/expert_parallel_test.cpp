// Experts on several ranks compute what they compute on one: results, and every gradient.
#include "switchyard/parallel/expert_parallel.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "parallel/expert_scenes.h"
#include "switchyard/comm/beside.h"
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
using testing::compute;
using testing::inputs_of;
using testing::kExperts;
using testing::kHidden;
using testing::kSize;
using testing::loop;
using testing::random_normal;
using testing::Results;
using testing::Scene;
using testing::scenes;
using testing::weights_of;
using testing::with_grad;

class ExpertsOnRanks : public ::testing::TestWithParam<Scene> {
 protected:
  // On `num_ranks` ranks, `expert` to a group, compared with one rank that holds all experts.
  static void expect_same_as_alone(std::int64_t num_ranks, std::int64_t expert,
                                   at::ScalarType dtype, double tolerance) {
    expect_same_as_alone(on_ranks_of(num_ranks, expert, dtype, 1), expert, dtype, tolerance);
  }

  static std::vector<Results> on_ranks_of(std::int64_t num_ranks, std::int64_t expert,
                                          at::ScalarType dtype, std::int64_t num_chunks) {
    std::vector<Results> on_ranks(static_cast<std::size_t>(num_ranks));
    comm::run_ranks(num_ranks, [&](comm::Communicator& ranks) {
      const std::unique_ptr<comm::Communicator> world_beside = comm::beside(ranks);
      comm::Communicator& world = num_chunks == 1 ? ranks : *world_beside;
      RankGroups groups(world, expert);
      const moe::ExpertPlacement placement = expert_placement(groups, kExperts, num_chunks);
      const auto dispatcher = placement.make_dispatcher({.name = "layer",
                                                         .num_experts = kExperts,
                                                         .experts = *placement.experts,
                                                         .compute = loop(dtype)});
      on_ranks[static_cast<std::size_t>(world.rank())] =
          compute(*dispatcher, inputs_of(GetParam(), world.rank(), dtype),
                  weights_of(placement.experts->first, placement.experts->count, dtype));
    });
    return on_ranks;
  }

  static void expect_same_as_alone(const std::vector<Results>& on_ranks, std::int64_t expert,
                                   at::ScalarType dtype, double tolerance) {
    const auto num_ranks = static_cast<std::int64_t>(on_ranks.size());
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

// Rows that travel in pieces, while others are computed.
TEST_P(ExpertsOnRanks, ChunksChangeNoBit) {
  for (const auto& [num_ranks, expert] : {std::pair{2, 2}, {4, 2}, {4, 4}}) {
    for (const std::int64_t num_chunks : {2, 4}) {
      if (kExperts / expert % num_chunks != 0) continue;
      for (const at::ScalarType dtype : {at::kDouble, at::kBFloat16}) {
        SCOPED_TRACE(fmt::format("{}x{} in {} chunks", num_ranks, expert, num_chunks));
        const std::vector<Results> whole = on_ranks_of(num_ranks, expert, dtype, 1);
        const std::vector<Results> chunks = on_ranks_of(num_ranks, expert, dtype, num_chunks);
        for (std::size_t rank = 0; rank < whole.size(); ++rank) {
          EXPECT_TRUE(at::equal(chunks[rank].y_TH, whole[rank].y_TH)) << rank;
          EXPECT_TRUE(at::equal(chunks[rank].dx_TH, whole[rank].dx_TH)) << rank;
          EXPECT_TRUE(at::equal(chunks[rank].dweight_N, whole[rank].dweight_N)) << rank;
          EXPECT_TRUE(at::equal(chunks[rank].dw1, whole[rank].dw1)) << rank;
          EXPECT_TRUE(at::equal(chunks[rank].dw2, whole[rank].dw2)) << rank;
        }
      }
    }
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
    EXPECT_THROW((void)expert_placement(groups, kExperts, 3), InternalError);
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
