#include "switchyard/moe/moe_layer.h"

#include <fmt/format.h>

#include <utility>

#include "moe/shared_expert.h"
#include "switchyard/core/error.h"

namespace switchyard::moe {
namespace {

ExpertRange experts_of(const config::MoeConfig& config, const MoeBuild& build) {
  const ExpertRange all{.first = 0, .count = config.num_experts};
  const ExpertRange experts = build.placement.experts.value_or(all);
  SWITCHYARD_CHECK(experts.first >= 0 && experts.count > 0 &&
                       experts.first + experts.count <= config.num_experts,
                   "{}: experts {} to {} of {}", build.name, experts.first,
                   experts.first + experts.count - 1, config.num_experts);
  return experts;
}

std::unique_ptr<Dispatcher> dispatcher_of(const config::MoeConfig& config, const MoeBuild& build,
                                          const std::shared_ptr<ExpertCompute>& compute) {
  const ExpertRange experts = experts_of(config, build);
  if (build.placement.make_dispatcher) {
    return build.placement.make_dispatcher({.name = build.name,
                                            .num_experts = config.num_experts,
                                            .experts = experts,
                                            .compute = compute});
  }
  SWITCHYARD_CHECK(experts.count == config.num_experts,
                   "{}: {} of {} experts are here and nobody brings rows to the others", build.name,
                   experts.count, config.num_experts);
  return make_local_dispatcher(compute);
}

// Experts that get names, for files. On the meta device a model is only counted, and may have more
// experts than there is memory for names.
std::int64_t num_named(const ExpertRange& experts, const MoeBuild& build) {
  return build.precision.device.is_meta() ? 0 : experts.count;
}

// [e, 2F, H]: each expert's gate rows, then its up rows.
ops::ParameterSpec w1_spec(const config::MoeConfig& config, const MoeBuild& build) {
  const std::int64_t size = config.expert_size;
  const std::int64_t hidden = build.hidden_size;
  ops::ParameterSpec spec;
  spec.name = build.name + ".experts.w1";
  const ExpertRange experts = experts_of(config, build);
  spec.shape = {experts.count, 2 * size, hidden};
  for (std::int64_t i = 0; i < num_named(experts, build); ++i) {
    const std::int64_t offset = i * 2 * size * hidden;
    const std::string name = fmt::format("{}.experts.{}", build.name, experts.first + i);
    spec.parts.push_back(
        {.name = name + ".gate_proj.weight", .offset = offset, .shape = {size, hidden}});
    spec.parts.push_back({.name = name + ".up_proj.weight",
                          .offset = offset + size * hidden,
                          .shape = {size, hidden}});
  }
  spec.init_std = build.init_std;
  spec.is_expert = true;
  spec.replicas = ops::ReplicaGroup::expert_replicas;
  return spec;
}

// [e, H, F]
ops::ParameterSpec w2_spec(const config::MoeConfig& config, const MoeBuild& build) {
  const std::int64_t size = config.expert_size;
  const std::int64_t hidden = build.hidden_size;
  ops::ParameterSpec spec;
  spec.name = build.name + ".experts.w2";
  const ExpertRange experts = experts_of(config, build);
  spec.shape = {experts.count, hidden, size};
  for (std::int64_t i = 0; i < num_named(experts, build); ++i) {
    spec.parts.push_back(
        {.name = fmt::format("{}.experts.{}.down_proj.weight", build.name, experts.first + i),
         .offset = i * hidden * size,
         .shape = {hidden, size}});
  }
  spec.init_std = build.down_proj_std;
  spec.is_expert = true;
  spec.replicas = ops::ReplicaGroup::expert_replicas;
  return spec;
}

}  // namespace

MoeLayer::MoeLayer(const config::MoeConfig& config, const config::RouterConfig& router,
                   const MoeBuild& build)
    : router_(routing::make_router(router, {.name = build.name + ".router.weight",
                                            .layer = build.layer,
                                            .num_experts = config.num_experts,
                                            .hidden_size = build.hidden_size,
                                            .causal = build.causal,
                                            .sequence_length = build.sequence_length,
                                            .init_std = build.init_std,
                                            .precision = build.precision})),
      compute_(
          make_expert_compute(config.compute, {.dtype = build.precision.compute,
                                               .device = build.precision.device,
                                               .hidden_size = build.hidden_size,
                                               .expert_size = config.expert_size,
                                               .num_experts = experts_of(config, build).count})),
      w1_(ops::make_parameter(w1_spec(config, build), build.precision)),
      w2_(ops::make_parameter(w2_spec(config, build), build.precision)) {
  dispatcher_ = dispatcher_of(config, build, compute_);
  if (config.shared_expert_size > 0) {
    shared_ = std::make_unique<SharedExpert>(DenseMlpBuild{.name = build.name + ".shared_expert",
                                                           .hidden_size = build.hidden_size,
                                                           .size = config.shared_expert_size,
                                                           .init_std = build.init_std,
                                                           .down_proj_std = build.down_proj_std,
                                                           .precision = build.precision},
                                             config.shared_expert_gate);
  }
}

MoeLayer::~MoeLayer() = default;

MoeOutput MoeLayer::forward(const routing::RouterInput& input, const routing::RouteResult* first) {
  routing::RouteResult routed =
      first == nullptr ? router_->route(input) : router_->replay(input, *first);
  std::unique_ptr<Dispatcher::Pending> pending = dispatcher_->begin(input.x_TH, routed.routing);
  // While rows are on their way to other ranks.
  const at::Tensor shared_TH = shared_ ? shared_->forward(input.x_TH) : at::Tensor();
  MoeOutput output;
  output.y_TH =
      dispatcher_->finish(std::move(pending), {.w1_E2FH = w1_.value,
                                               .w2_EHF = w2_.value,
                                               .sink = {.w1_E2FH = w1_.grad, .w2_EHF = w2_.grad}});
  if (shared_) output.y_TH = output.y_TH.add(shared_TH);
  output.routing = std::move(routed.routing);
  output.sums = std::move(routed.sums);
  return output;
}

std::vector<ops::Parameter*> MoeLayer::parameters() {
  std::vector<ops::Parameter*> list = router_->parameters();
  list.insert(list.end(), {&w1_, &w2_});
  if (shared_) {
    const std::vector<ops::Parameter*> more = shared_->parameters();
    list.insert(list.end(), more.begin(), more.end());
  }
  return list;
}

}  // namespace switchyard::moe
