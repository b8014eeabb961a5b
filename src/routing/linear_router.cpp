#include "routing/linear_router.h"

#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/ops/linear.h"
#include "switchyard/ops/replay_route.h"

namespace switchyard::routing {
namespace {

ops::Parameter make_weight(const RouterBuild& build) {
  SWITCHYARD_CHECK(build.num_experts >= 1 && build.hidden_size >= 1,
                   "router '{}' needs at least one expert and one channel, got {} and {}",
                   build.name, build.num_experts, build.hidden_size);
  ops::ParameterSpec spec;
  spec.name = build.name;
  spec.shape = {build.num_experts, build.hidden_size};
  spec.init_std = build.init_std;
  spec.decay = false;
  spec.keep_accumulation_type = true;
  return ops::make_parameter(spec, build.precision);
}

}  // namespace

LinearRouter::LinearRouter(const RouterBuild& build, bool renormalize)
    : weight_(make_weight(build)), renormalize_(renormalize) {}

RouteResult LinearRouter::replay(const RouterInput& input, const RouteResult& first) {
  ops::RouteOutput output =
      ops::replay_route(logits(input.x_TH), input.valid_T, input.sequence_offset_B1,
                        {.first = {first.routing, first.sums}, .renormalize = renormalize_});
  return {std::move(output.routing), std::move(output.sums)};
}

at::Tensor LinearRouter::logits(const at::Tensor& x_TH) const {
  const at::Tensor& weight_EH = weight_.value;
  SWITCHYARD_CHECK(x_TH.dim() == 2 && x_TH.size(1) == weight_EH.size(1),
                   "router '{}' expects x [T, {}], got {} dims with {} elements", weight_.name,
                   weight_EH.size(1), x_TH.dim(), x_TH.numel());
  return ops::linear(x_TH.to(weight_EH.scalar_type()), weight_EH);
}

}  // namespace switchyard::routing
