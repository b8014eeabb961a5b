#include "switchyard/moe/moe_layer.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "moe/moe_reference.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/precision.h"
#include "switchyard/routing/router.h"

namespace switchyard::moe::testing {
namespace {

config::MoeConfig small_config() {
  config::MoeConfig config;
  config.num_experts = 4;
  config.expert_size = 6;
  return config;
}

config::RouterConfig router_of(const std::string& type) {
  config::RouterConfig router(type);
  router.renormalize = false;
  if (type == config::TopPOptions::kType) router.options.as<config::TopPOptions>().p = 0.6;
  return router;
}

MoeBuild small_build(at::ScalarType dtype) {
  return {.name = "model.layers.3.moe",
          .layer = 3,
          .hidden_size = 8,
          .sequence_length = 10,
          .precision = {.compute = dtype}};
}

routing::RouterInput input_of(const at::Tensor& x_TH) {
  routing::RouterInput input;
  input.x_TH = x_TH;
  input.importance_T = at::ones({x_TH.size(0)}, ops::accumulation_type(x_TH.scalar_type()));
  input.sequence_offset_B1 = at::tensor({0, 10, 20}, at::kInt);
  input.training = true;
  return input;
}

TEST(MoeLayer, NamesThePartsOfItsWeightsByExpertAndProjection) {
  MoeLayer layer(small_config(), router_of("top_p"), small_build(at::kFloat));
  const auto parameters = layer.parameters();
  ASSERT_EQ(parameters.size(), 3U);
  EXPECT_EQ(parameters[0]->name, "model.layers.3.moe.router.weight");
  const ops::Parameter& w1 = *parameters[1];
  const ops::Parameter& w2 = *parameters[2];
  EXPECT_TRUE(w1.is_expert && w2.is_expert);
  ASSERT_EQ(w1.parts.size(), 8U);
  EXPECT_EQ(w1.parts[5].name, "model.layers.3.moe.experts.2.up_proj.weight");
  EXPECT_EQ(w1.parts[5].offset, 2 * 2 * 6 * 8 + 6 * 8);
  EXPECT_EQ(w1.parts[5].shape, (std::vector<std::int64_t>{6, 8}));
  EXPECT_EQ(w1.parts[4].name, "model.layers.3.moe.experts.2.gate_proj.weight");
  ASSERT_EQ(w2.parts.size(), 4U);
  EXPECT_EQ(w2.parts[3].name, "model.layers.3.moe.experts.3.down_proj.weight");
  EXPECT_EQ(w2.parts[3].offset, 3 * 6 * 8);
  EXPECT_EQ(w2.parts[3].shape, (std::vector<std::int64_t>{8, 6}));
  for (const ops::Parameter* parameter : {&w1, &w2}) {
    std::int64_t covered = 0;
    for (const ops::LogicalTensor& part : parameter->parts) {
      EXPECT_EQ(part.offset, covered) << part.name;
      covered += part.shape[0] * part.shape[1];
    }
    EXPECT_EQ(covered, parameter->numel());
  }
}

TEST(MoeLayer, TrainsEveryParameterUnderEveryRouterAndDtype) {
  for (const std::string& type : routing::router_types()) {
    for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(type + " " + at::toString(dtype));
      MoeLayer layer(small_config(), router_of(type), small_build(dtype));
      for (ops::Parameter* parameter : layer.parameters()) {
        parameter->init_std = 0.5;
        ops::initialize(*parameter, 1);
        ops::zero_grad(*parameter);
      }
      const at::Tensor x_TH = with_grad(random_normal({20, 8}, 2, dtype));
      const MoeOutput out = layer.forward(input_of(x_TH));
      ops::check_routing(out.routing);
      EXPECT_EQ(out.y_TH.scalar_type(), dtype);
      EXPECT_EQ(out.sums.num_tokens_B.sum().item<std::int64_t>(), 20);
      EXPECT_EQ(out.sums.count_BE.sum().item<std::int64_t>(), out.routing.num_rows());
      out.y_TH.square().sum().backward();
      EXPECT_TRUE(at::isfinite(x_TH.grad()).all().item<bool>());
      for (ops::Parameter* parameter : layer.parameters()) {
        ops::collect_grad(*parameter);
        EXPECT_TRUE(at::isfinite(parameter->grad).all().item<bool>()) << parameter->name;
        EXPECT_GT(parameter->grad.abs().sum().item<double>(), 0.0) << parameter->name;
      }
    }
  }
}

TEST(MoeLayer, ComputesWhatItsPartsCompute) {
  MoeLayer layer(small_config(), router_of("top_p"), small_build(at::kDouble));
  for (ops::Parameter* parameter : layer.parameters()) {
    parameter->init_std = 0.5;
    ops::initialize(*parameter, 1);
  }
  const routing::RouterInput input = input_of(random_normal({20, 8}, 2));
  const MoeOutput out = layer.forward(input);
  const routing::RouteResult routed = layer.router().route(input);
  EXPECT_TRUE(at::equal(out.routing.row_token_N, routed.routing.row_token_N));
  switchyard::testing::expect_close(
      out.y_TH,
      moe_by_definition(input.x_TH, routed.routing, routed.routing.row_weight_N,
                        layer.parameters()[1]->value, layer.parameters()[2]->value),
      1e-13, 1e-12);
}

// Brings no rows anywhere: computes those of the experts held here and leaves the rest out.
class OwnRowsDispatcher final : public Dispatcher {
 public:
  explicit OwnRowsDispatcher(const DispatcherBuild& build)
      : experts_(build.experts), local_(make_local_dispatcher(build.compute)) {}

  [[nodiscard]] std::unique_ptr<Pending> begin(const at::Tensor& x_TH,
                                               const ops::Routing& routing) override {
    const auto* offset = routing.expert_offset_E1.const_data_ptr<std::int32_t>();
    const std::int64_t begin = offset[experts_.first];
    const std::int64_t count = offset[experts_.first + experts_.count] - begin;
    const at::Tensor row = routing.token_row_N.to(at::kLong);
    const at::Tensor is_own = row.ge(begin).logical_and(row.lt(begin + count));
    const at::Tensor num_own_before = at::cat({at::zeros({1}, at::kLong), is_own.cumsum(0)});
    ops::Routing own;
    own.num_tokens = routing.num_tokens;
    own.num_experts = experts_.count;
    own.expert_offset_E1 =
        routing.expert_offset_E1.narrow(0, experts_.first, experts_.count + 1).sub(begin);
    own.row_token_N = routing.row_token_N.narrow(0, begin, count);
    own.row_weight_N = routing.row_weight_N.narrow(0, begin, count);
    own.token_offset_T1 =
        num_own_before.index_select(0, routing.token_offset_T1.to(at::kLong)).to(at::kInt);
    own.token_row_N = row.masked_select(is_own).sub(begin).to(at::kInt);
    ops::check_routing(own);
    return local_->begin(x_TH, own);
  }

  [[nodiscard]] at::Tensor finish(std::unique_ptr<Pending> pending,
                                  const ExpertWeights& weights) override {
    return local_->finish(std::move(pending), weights);
  }

 private:
  ExpertRange experts_;
  std::unique_ptr<Dispatcher> local_;
};

std::unique_ptr<Dispatcher> make_own_rows_dispatcher(const DispatcherBuild& build) {
  EXPECT_EQ(build.name, "model.layers.3.moe");
  EXPECT_EQ(build.num_experts, 4);
  return std::make_unique<OwnRowsDispatcher>(build);
}

MoeBuild build_of(const ExpertRange& experts) {
  MoeBuild build = small_build(at::kDouble);
  build.init_std = 0.5;
  build.down_proj_std = 0.25;
  build.placement.experts = experts;
  build.placement.make_dispatcher = make_own_rows_dispatcher;
  return build;
}

// The elements of every part by its name in files.
std::map<std::string, at::Tensor> parts_of(MoeLayer& layer) {
  std::map<std::string, at::Tensor> parts;
  for (ops::Parameter* parameter : layer.parameters()) {
    ops::initialize(*parameter, 5);
    for (const ops::LogicalTensor& part : parameter->parts) {
      parts[part.name] =
          parameter->value.detach().view({-1}).narrow(0, part.offset, part.held().count);
    }
  }
  return parts;
}

TEST(MoeLayer, LayersOfHalfTheExpertsMakeTheWholeOneTogether) {
  MoeBuild all = small_build(at::kDouble);
  all.init_std = 0.5;
  all.down_proj_std = 0.25;
  MoeLayer whole(small_config(), router_of("top_p"), all);
  MoeLayer lower(small_config(), router_of("top_p"), build_of({.first = 0, .count = 1}));
  MoeLayer upper(small_config(), router_of("top_p"), build_of({.first = 1, .count = 3}));
  std::map<std::string, at::Tensor> together = parts_of(lower);
  const std::size_t num_lower = together.size();
  EXPECT_EQ(num_lower, 1U + 3U);  // the router, and gate, up and down of an expert
  together.merge(parts_of(upper));
  const std::map<std::string, at::Tensor> expected = parts_of(whole);
  ASSERT_EQ(together.size(), expected.size());
  for (const auto& [name, elements] : expected) {
    EXPECT_TRUE(at::equal(together.at(name), elements)) << name;
  }
  const routing::RouterInput input = input_of(random_normal({20, 8}, 2));
  const at::Tensor y_TH = lower.forward(input).y_TH + upper.forward(input).y_TH;
  switchyard::testing::expect_close(y_TH, whole.forward(input).y_TH, 1e-13, 1e-12);
}

config::MoeConfig config_with_shared_expert(bool has_gate) {
  config::MoeConfig config = small_config();
  config.shared_expert_size = 5;
  config.shared_expert_gate = has_gate;
  return config;
}

TEST(SharedExpert, IsNamedBesideTheOthersAndHeldByAllRanks) {
  MoeBuild build = build_of({.first = 1, .count = 2});
  MoeLayer layer(config_with_shared_expert(true), router_of("top_p"), build);
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const ops::Parameter* parameter : layer.parameters()) {
    for (const ops::LogicalTensor& part : parameter->parts) {
      if (part.name.find("shared") == std::string::npos) continue;
      shapes[part.name] = part.shape;
      EXPECT_EQ(parameter->replicas, ops::ReplicaGroup::all_ranks) << part.name;
      EXPECT_FALSE(parameter->is_expert) << part.name;
    }
  }
  using Shape = std::vector<std::int64_t>;
  const std::map<std::string, Shape> expected{
      {"model.layers.3.moe.shared_expert.gate_proj.weight", Shape{5, 8}},
      {"model.layers.3.moe.shared_expert.up_proj.weight", Shape{5, 8}},
      {"model.layers.3.moe.shared_expert.down_proj.weight", Shape{8, 5}},
      {"model.layers.3.moe.shared_expert_gate.weight", Shape{1, 8}}};
  EXPECT_EQ(shapes, expected);
}

// Against the same routed experts without it.
TEST(SharedExpert, AddsASwigluThatEveryTokenPasses) {
  for (const bool has_gate : {false, true}) {
    MoeBuild build = small_build(at::kDouble);
    build.init_std = build.down_proj_std = 0.5;
    MoeLayer layer(config_with_shared_expert(has_gate), router_of("top_p"), build);
    MoeLayer routed_alone(small_config(), router_of("top_p"), build);
    std::map<std::string, at::Tensor> parts = parts_of(layer);
    (void)parts_of(routed_alone);
    routing::RouterInput input = input_of(random_normal({20, 8}, 2));
    const auto of_shared = [&parts](const char* name) {
      return parts.at(std::string("model.layers.3.moe.shared_expert") + name);
    };
    const at::Tensor& gate_FH = of_shared(".gate_proj.weight").view({5, 8});
    const at::Tensor& up_FH = of_shared(".up_proj.weight").view({5, 8});
    const at::Tensor& down_HF = of_shared(".down_proj.weight").view({8, 5});
    const at::Tensor gate_TF = input.x_TH.matmul(gate_FH.t());
    at::Tensor shared_TH =
        (gate_TF * gate_TF.sigmoid() * input.x_TH.matmul(up_FH.t())).matmul(down_HF.t());
    if (has_gate) {
      shared_TH = shared_TH * input.x_TH.matmul(of_shared("_gate.weight").view({8, 1})).sigmoid();
    }
    EXPECT_GT(shared_TH.abs().max().item<double>(), 0.1);
    switchyard::testing::expect_close(layer.forward(input).y_TH,
                                      routed_alone.forward(input).y_TH + shared_TH, 1e-13, 1e-12);
  }
}

TEST(SharedExpert, TrainsEveryParameterInEveryDtype) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(at::toString(dtype));
    MoeLayer layer(config_with_shared_expert(true), router_of("top_p"), small_build(dtype));
    for (ops::Parameter* parameter : layer.parameters()) {
      parameter->init_std = 0.5;
      ops::initialize(*parameter, 1);
      ops::zero_grad(*parameter);
    }
    const MoeOutput out = layer.forward(input_of(random_normal({20, 8}, 2, dtype)));
    EXPECT_EQ(out.y_TH.scalar_type(), dtype);
    out.y_TH.square().sum().backward();
    for (ops::Parameter* parameter : layer.parameters()) {
      ops::collect_grad(*parameter);
      EXPECT_GT(parameter->grad.abs().sum().item<double>(), 0.0) << parameter->name;
    }
  }
}

TEST(MoeLayer, SaysOverWhichRanksItsWeightsAreReplicated) {
  MoeLayer layer(small_config(), router_of("top_p"), small_build(at::kFloat));
  const auto parameters = layer.parameters();
  EXPECT_EQ(parameters[0]->replicas, ops::ReplicaGroup::all_ranks);
  EXPECT_EQ(parameters[1]->replicas, ops::ReplicaGroup::expert_replicas);
  EXPECT_EQ(parameters[2]->replicas, ops::ReplicaGroup::expert_replicas);
}

TEST(MoeLayer, RefusesExpertsThatAreNotThereOrThatNobodyBringsRowsTo) {
  const auto layer_of = [](const MoeBuild& build) {
    MoeLayer(small_config(), router_of("top_p"), build);
  };
  for (const ExpertRange range : {ExpertRange{3, 2}, ExpertRange{-1, 2}, ExpertRange{1, 0}}) {
    EXPECT_THROW(layer_of(build_of(range)), InternalError) << range.first;
  }
  MoeBuild alone = build_of({.first = 0, .count = 2});
  alone.placement.make_dispatcher = {};
  EXPECT_THROW(layer_of(alone), InternalError);
}

TEST(MoeLayer, CanBeBuiltOnTheMetaDeviceForShapesAlone) {
  MoeBuild build = small_build(at::kBFloat16);
  build.precision.device = at::kMeta;
  MoeLayer layer(small_config(), router_of("top_k"), build);
  EXPECT_EQ(layer.parameters()[1]->numel(), 4 * 2 * 6 * 8);
}

}  // namespace
}  // namespace switchyard::moe::testing
