#include "ops/route.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>

#include "ops/kernel_device.h"
#include "ops/sequences.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/route_backward.h"
#include "switchyard/kernels/route_rows.h"
#include "switchyard/kernels/top_k_route.h"
#include "switchyard/kernels/top_p_route.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

void check_arguments(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                     const at::Tensor& sequence_offset_B1) {
  SWITCHYARD_CHECK(logits_TE.dim() == 2 && logits_TE.size(1) >= 1,
                   "logits must be [T, E] with at least one expert");
  SWITCHYARD_CHECK(logits_TE.scalar_type() == at::kFloat || logits_TE.scalar_type() == at::kDouble,
                   "logits must be fp32 or fp64, got {}", at::toString(logits_TE.scalar_type()));
  check_sequences(valid_T, sequence_offset_B1, logits_TE.size(0), logits_TE.device());
}

template <typename T>
kernels::RouteLogits<T> logits_of(const KernelDevice& on, const at::Tensor& logits_TE,
                                  const at::Tensor& valid_T) {
  return {.num_tokens = logits_TE.size(0),
          .num_experts = logits_TE.size(1),
          .logits_TE = on.read<T>(logits_TE),
          .valid_T = on.read_if_defined<bool>(valid_T)};
}

// Everything a route computes, in the order in which the autograd function returns it.
struct RouteTensors {
  at::Tensor row_weight_N, prob_sum_BE, entropy_sum, z_sum;  // differentiable
  at::Tensor expert_offset_E1, row_token_N, token_offset_T1, token_row_N;
  at::Tensor count_BE, num_tokens_B, k_histogram_E1;
  at::Tensor softmax_T2;  // saved for backward
};

// Each returns N.
template <typename T>
std::int64_t choose(const kernels::RouteLogits<T>& in, const TopPOptions& options,
                    const kernels::RouteChoice<T>& out, const KernelDevice& on) {
  const std::int64_t max_experts = options.max_experts.value_or(in.num_experts);
  const kernels::TopPRouteParams<T> params{
      .in = in, .p = options.p, .max_experts = std::min(max_experts, in.num_experts), .out = out};
  return on.run([&] { return kernels::cpu::top_p_route(params); },
                [&](kernels::Stream stream) { return kernels::cuda::top_p_route(params, stream); });
}

template <typename T>
std::int64_t choose(const kernels::RouteLogits<T>& in, const TopKOptions& options,
                    const kernels::RouteChoice<T>& out, const KernelDevice& on) {
  const at::Tensor k_T = options.k_T.defined() ? options.k_T.contiguous() : options.k_T;
  const kernels::TopKRouteParams<T> params{
      .in = in, .k = options.k, .k_T = on.read_if_defined<std::int32_t>(k_T), .out = out};
  return on.run([&] { return kernels::cpu::top_k_route(params); },
                [&](kernels::Stream stream) { return kernels::cuda::top_k_route(params, stream); });
}

// The first pass's tensors, and the softmax that the gradient needs.
template <typename T>
RouteTensors compute(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                     const at::Tensor& /*sequence_offset_B1*/, const ReplayOptions& options) {
  const RouteOutput& first = options.first;
  const std::int64_t num_tokens = logits_TE.size(0);
  const auto int32 = logits_TE.options().dtype(at::kInt);
  const at::Tensor softmax_T2 = at::empty({num_tokens, 2}, logits_TE.options());
  const at::Tensor no_expert_T = at::empty({num_tokens}, int32);
  const at::Tensor no_offset_T1 = at::empty({num_tokens + 1}, int32);
  const KernelDevice on(logits_TE.device(), "replay_route");
  (void)choose<T>(logits_of<T>(on, logits_TE, valid_T),
                  TopKOptions{.k = 0, .k_T = {}, .renormalize = false},
                  {.softmax_T2 = on.write<T>(softmax_T2),
                   .last_expert_T = on.write<std::int32_t>(no_expert_T),
                   .token_offset_T1 = on.write<std::int32_t>(no_offset_T1)},
                  on);
  // Autograd writes its own history into what a function returns: not into the first pass's.
  const auto fresh = [](const at::Tensor& tensor) { return tensor.variable_data(); };
  return {.row_weight_N = fresh(first.routing.row_weight_N),
          .prob_sum_BE = fresh(first.sums.prob_sum_BE),
          .entropy_sum = fresh(first.sums.entropy_sum),
          .z_sum = fresh(first.sums.z_sum),
          .expert_offset_E1 = first.routing.expert_offset_E1,
          .row_token_N = first.routing.row_token_N,
          .token_offset_T1 = first.routing.token_offset_T1,
          .token_row_N = first.routing.token_row_N,
          .count_BE = first.sums.count_BE,
          .num_tokens_B = first.sums.num_tokens_B,
          .k_histogram_E1 = first.sums.k_histogram_E1,
          .softmax_T2 = softmax_T2};
}

template <typename T, typename Options>
RouteTensors compute(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                     const at::Tensor& sequence_offset_B1, const Options& options) {
  const KernelDevice on(logits_TE.device(), "route");
  const std::int64_t num_tokens = logits_TE.size(0);
  const std::int64_t num_experts = logits_TE.size(1);
  const std::int64_t num_sequences = sequence_offset_B1.size(0) - 1;
  const auto int32 = logits_TE.options().dtype(at::kInt);
  const auto int64 = logits_TE.options().dtype(at::kLong);
  const auto in = logits_of<T>(on, logits_TE, valid_T);

  RouteTensors out;
  out.softmax_T2 = at::empty({num_tokens, 2}, logits_TE.options());
  out.token_offset_T1 = at::empty({num_tokens + 1}, int32);
  const at::Tensor last_expert_T = at::empty({num_tokens}, int32);
  const kernels::RouteChoice<T> choice{
      .softmax_T2 = on.write<T>(out.softmax_T2),
      .last_expert_T = on.write<std::int32_t>(last_expert_T),
      .token_offset_T1 = on.write<std::int32_t>(out.token_offset_T1)};
  const std::int64_t num_rows = choose(in, options, choice, on);
  if (num_rows > std::numeric_limits<std::int32_t>::max()) {
    throw UsageError(fmt::format("a micro-batch of {} tokens routes {} rows, more than 2^31 - 1",
                                 num_tokens, num_rows),
                     "lower train.micro_batch_size or set model.moe.router.max_experts");
  }

  out.expert_offset_E1 = at::empty({num_experts + 1}, int32);
  out.row_token_N = at::empty({num_rows}, int32);
  out.token_row_N = at::empty({num_rows}, int32);
  out.row_weight_N = at::empty({num_rows}, logits_TE.options());
  out.count_BE = at::empty({num_sequences, num_experts}, int64);
  out.num_tokens_B = at::empty({num_sequences}, int64);
  out.k_histogram_E1 = at::empty({num_experts + 1}, int64);
  out.prob_sum_BE = at::empty({num_sequences, num_experts}, logits_TE.options());
  out.entropy_sum = at::empty({}, logits_TE.options());
  out.z_sum = at::empty({}, logits_TE.options());
  const kernels::RouteRowsParams<T> params{
      .in = in,
      .choice = choice,
      .renormalize = options.renormalize,
      .num_sequences = num_sequences,
      .sequence_offset_B1 = on.read<std::int32_t>(sequence_offset_B1),
      .expert_offset_E1 = on.write<std::int32_t>(out.expert_offset_E1),
      .row_token_N = on.write<std::int32_t>(out.row_token_N),
      .token_row_N = on.write<std::int32_t>(out.token_row_N),
      .row_weight_N = on.write<T>(out.row_weight_N),
      .count_BE = on.write<std::int64_t>(out.count_BE),
      .num_tokens_B = on.write<std::int64_t>(out.num_tokens_B),
      .k_histogram_E1 = on.write<std::int64_t>(out.k_histogram_E1),
      .prob_sum_BE = on.write<T>(out.prob_sum_BE),
      .entropy_sum = on.write<T>(out.entropy_sum),
      .z_sum = on.write<T>(out.z_sum)};
  on.run([&] { kernels::cpu::route_rows(params); },
         [&](kernels::Stream stream) { kernels::cuda::route_rows(params, stream); });
  return out;
}

// What is not differentiated travels in a struct: autograd does not look into it, and would not
// accept an undefined valid_T.
struct ConstantInputs {
  const at::Tensor& valid_T;
  const at::Tensor& sequence_offset_B1;
  const RouteRule& rule;
};

class RouteFunction : public torch::autograd::Function<RouteFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& logits_any,
                               const ConstantInputs& inputs) {
    const OpSpan span("route");
    const auto& [valid_any, sequence_offset_B1, rule] = inputs;
    const at::Tensor logits_TE = logits_any.contiguous();
    const at::Tensor valid_T = valid_any.defined() ? valid_any.contiguous() : valid_any;
    const bool is_double = logits_TE.scalar_type() == at::kDouble;
    const RouteTensors out = std::visit(
        [&](const auto& options) {
          return is_double ? compute<double>(logits_TE, valid_T, sequence_offset_B1, options)
                           : compute<float>(logits_TE, valid_T, sequence_offset_B1, options);
        },
        rule);
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({logits_TE, valid_T, sequence_offset_B1, out.softmax_T2,
                            out.expert_offset_E1, out.token_offset_T1, out.token_row_N});
    ctx->saved_data["renormalize"] =
        std::visit([](const auto& options) { return options.renormalize; }, rule);
    const variable_list integers{out.expert_offset_E1, out.row_token_N, out.token_offset_T1,
                                 out.token_row_N,      out.count_BE,    out.num_tokens_B,
                                 out.k_histogram_E1};
    ctx->mark_non_differentiable(integers);
    variable_list outputs{out.row_weight_N, out.prob_sum_BE, out.entropy_sum, out.z_sum};
    outputs.insert(outputs.end(), integers.begin(), integers.end());
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const OpSpan span("route_backward");
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor grad_logits_TE = saved[0].scalar_type() == at::kDouble
                                          ? logits_gradient<double>(ctx, saved, grads)
                                          : logits_gradient<float>(ctx, saved, grads);
    return {grad_logits_TE, {}};
  }

 private:
  template <typename T>
  static at::Tensor logits_gradient(AutogradContext* ctx, const variable_list& saved,
                                    const variable_list& grads) {
    const at::Tensor& logits_TE = saved[0];
    const at::Tensor& sequence_offset_B1 = saved[2];
    const auto contiguous = [](const at::Tensor& grad) {
      return grad.defined() ? grad.contiguous() : grad;
    };
    const at::Tensor grad_row_weight_N = contiguous(grads[0]);
    const at::Tensor grad_prob_sum_BE = contiguous(grads[1]);
    at::Tensor grad_logits_TE = at::empty_like(logits_TE);
    const KernelDevice on(logits_TE.device(), "route_backward");
    const kernels::RouteBackwardParams<T> params{
        .in = logits_of<T>(on, logits_TE, saved[1]),
        .softmax_T2 = on.read<T>(saved[3]),
        .renormalize = ctx->saved_data["renormalize"].toBool(),
        .num_sequences = sequence_offset_B1.size(0) - 1,
        .sequence_offset_B1 = on.read<std::int32_t>(sequence_offset_B1),
        .expert_offset_E1 = on.read<std::int32_t>(saved[4]),
        .token_offset_T1 = on.read<std::int32_t>(saved[5]),
        .token_row_N = on.read<std::int32_t>(saved[6]),
        .grad_row_weight_N = on.read_if_defined<T>(grad_row_weight_N),
        .grad_prob_sum_BE = on.read_if_defined<T>(grad_prob_sum_BE),
        .grad_entropy_sum = on.read_if_defined<T>(grads[2]),
        .grad_z_sum = on.read_if_defined<T>(grads[3]),
        .grad_logits_TE = on.write<T>(grad_logits_TE)};
    on.run([&] { kernels::cpu::route_backward(params); },
           [&](kernels::Stream stream) { kernels::cuda::route_backward(params, stream); });
    return grad_logits_TE;
  }
};

}  // namespace

RouteOutput route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                  const at::Tensor& sequence_offset_B1, const RouteRule& rule) {
  check_arguments(logits_TE, valid_T, sequence_offset_B1);
  const variable_list out =
      RouteFunction::apply(logits_TE, ConstantInputs{valid_T, sequence_offset_B1, rule});
  return {.routing = {.num_tokens = logits_TE.size(0),
                      .num_experts = logits_TE.size(1),
                      .expert_offset_E1 = out[4],
                      .row_token_N = out[5],
                      .token_offset_T1 = out[6],
                      .token_row_N = out[7],
                      .row_weight_N = out[0]},
          .sums = {.count_BE = out[8],
                   .num_tokens_B = out[9],
                   .k_histogram_E1 = out[10],
                   .prob_sum_BE = out[1],
                   .entropy_sum = out[2],
                   .z_sum = out[3],
                   .named = {}}};
}

}  // namespace switchyard::ops
