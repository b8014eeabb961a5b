// Two routes of the kernels make one: the choice matrix itself, as logits, orders the chosen
// experts of a token before the others, so that its k first are they; and a route of the real
// logits to no expert has their sums. Only the rows' weights are picked here.
#include "switchyard/ops/route_chosen.h"

#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "ops/route.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

void check_matrix(const at::Tensor& matrix, const char* name, const at::Tensor& like) {
  SWITCHYARD_CHECK(matrix.defined() && matrix.dim() == 2 && matrix.sizes() == like.sizes() &&
                       matrix.device() == like.device(),
                   "{} must be [T, E] on the device of the logits", name);
}

void check_experts(const ChosenExperts& experts) {
  check_matrix(experts.logits_TE, "logits_TE", experts.logits_TE);
  check_matrix(experts.weight_TE, "weight_TE", experts.logits_TE);
  SWITCHYARD_CHECK(experts.weight_TE.scalar_type() == experts.logits_TE.scalar_type(),
                   "weights in {} with logits in {}", at::toString(experts.weight_TE.scalar_type()),
                   at::toString(experts.logits_TE.scalar_type()));
}

// [N] int64: token * E + expert of each row.
at::Tensor pairs_of(const Routing& routing) {
  const std::int64_t num_experts = routing.num_experts;
  const at::Tensor count_E = routing.expert_offset_E1.narrow(0, 1, num_experts)
                                 .sub(routing.expert_offset_E1.narrow(0, 0, num_experts));
  // Knowing the size of the result spares a GPU the round trip of asking for it.
  const std::optional<std::int64_t> output_size = routing.num_rows();
  const at::Tensor expert_N = at::repeat_interleave(count_E, output_size);
  return routing.row_token_N.to(at::kLong).mul(num_experts).add(expert_N);
}

// What is not differentiated travels in a struct: autograd does not look into it.
struct Pick {
  at::Tensor pair_N;
  at::Tensor value_N;  // the weights themselves, where they are known
};

// value_N, or weight_TE at the pairs; the gradient goes to weight_TE. No pair occurs twice, so
// gradients are stored rather than added.
class PickWeights : public torch::autograd::Function<PickWeights> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const Variable& weight_TE, const Pick& pick) {
    ctx->save_for_backward({pick.pair_N});
    ctx->saved_data["num_tokens"] = weight_TE.size(0);
    ctx->saved_data["num_experts"] = weight_TE.size(1);
    // Autograd writes its own history into what a function returns: not into the given values.
    if (pick.value_N.defined()) return pick.value_N.variable_data();
    return weight_TE.reshape({-1}).index_select(0, pick.pair_N);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const std::int64_t num_tokens = ctx->saved_data["num_tokens"].toInt();
    const std::int64_t num_experts = ctx->saved_data["num_experts"].toInt();
    at::Tensor grad_weight = at::zeros({num_tokens * num_experts}, grads[0].options());
    grad_weight.index_copy_(0, ctx->get_saved_variables()[0], grads[0]);
    return {grad_weight.view({num_tokens, num_experts}), {}};
  }
};

}  // namespace

RouteOutput route_chosen(const ChosenExperts& experts, const at::Tensor& valid_T,
                         const at::Tensor& sequence_offset_B1) {
  check_experts(experts);
  check_matrix(experts.chosen_TE, "chosen_TE", experts.logits_TE);
  SWITCHYARD_CHECK(experts.chosen_TE.scalar_type() == at::kBool, "chosen_TE must be bool, got {}",
                   at::toString(experts.chosen_TE.scalar_type()));
  const at::Tensor order_TE = experts.chosen_TE.to(experts.logits_TE.scalar_type());
  RouteOutput out = route(
      order_TE, valid_T, sequence_offset_B1,
      TopKOptions{.k = 0, .k_T = experts.chosen_TE.sum(1, false, at::kInt), .renormalize = false});
  const RouteSums of_logits = route(experts.logits_TE, valid_T, sequence_offset_B1,
                                    TopKOptions{.k = 0, .k_T = {}, .renormalize = false})
                                  .sums;
  out.sums.prob_sum_BE = of_logits.prob_sum_BE;
  out.sums.entropy_sum = of_logits.entropy_sum;
  out.sums.z_sum = of_logits.z_sum;
  out.routing.row_weight_N =
      PickWeights::apply(experts.weight_TE, Pick{.pair_N = pairs_of(out.routing), .value_N = {}});
  return out;
}

RouteOutput replay_chosen(const ChosenExperts& experts, const at::Tensor& valid_T,
                          const at::Tensor& sequence_offset_B1, const RouteOutput& first) {
  check_experts(experts);
  RouteOutput out = replay_route(experts.logits_TE, valid_T, sequence_offset_B1, {.first = first});
  out.routing.row_weight_N = PickWeights::apply(
      experts.weight_TE,
      Pick{.pair_N = pairs_of(out.routing), .value_N = first.routing.row_weight_N});
  return out;
}

}  // namespace switchyard::ops
