#include "train/step_accumulator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::train {
namespace {

at::Tensor as_fp64(const at::Tensor& scalar) {
  return scalar.detach().to(at::kDouble).reshape({1});
}

void add_to(at::Tensor& sum, const at::Tensor& addend) {
  if (sum.defined()) {
    sum.add_(addend);
  } else {
    sum = addend;
  }
}

}  // namespace

void StepAccumulator::remember_layers(const std::vector<model::LayerRoute>& routes) {
  if (!layers_.empty()) {
    SWITCHYARD_CHECK(layers_.size() == routes.size(), "{} MoE layers, expected {}", routes.size(),
                     layers_.size());
    return;
  }
  for (const model::LayerRoute& route : routes) {
    Layer layer{.layer = route.layer,
                .num_experts = route.routing.num_experts,
                .l1_coefficient = route.sums.l1_coefficient};
    for (const auto& [name, sum] : route.sums.named) layer.named[name] = sum.numel();
    layers_.push_back(std::move(layer));
  }
}

std::vector<at::Tensor> StepAccumulator::reduce_counts(
    const std::vector<model::LayerRoute>& routes) {
  const at::NoGradGuard no_grad;
  remember_layers(routes);
  if (routes.empty()) return {};
  std::vector<at::Tensor> parts;
  for (const model::LayerRoute& route : routes) {
    parts.push_back(route.sums.count_BE.sum(0));
    parts.push_back(route.sums.k_histogram_E1);
  }
  at::Tensor micro_step = at::cat(parts);
  communicator_.all_reduce_sum(micro_step, "expert counts");
  std::vector<at::Tensor> counts;
  std::int64_t offset = 0;
  for (const Layer& layer : layers_) {
    counts.push_back(micro_step.narrow(0, offset, layer.num_experts).clone());
    offset += 2 * layer.num_experts + 1;
  }
  add_to(integers_, micro_step);
  return counts;
}

void StepAccumulator::add_losses(const at::Tensor& lm_loss_sum,
                                 const std::vector<model::LayerRoute>& routes,
                                 const std::vector<routing::LossShares>& shares) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values{as_fp64(lm_loss_sum)};
  for (std::size_t i = 0; i < routes.size(); ++i) {
    values.push_back(as_fp64(routes[i].sums.entropy_sum));
    values.push_back(as_fp64(shares[i].load_balance));
    values.push_back(as_fp64(shares[i].dynamic));
    values.push_back(as_fp64(shares[i].z));
    values.push_back(shares[i].l1.defined() ? as_fp64(shares[i].l1) : at::zeros_like(values[0]));
    for (const auto& [name, sum] : routes[i].sums.named) {
      values.push_back(sum.detach().to(at::kDouble).reshape({-1}));
    }
  }
  add_to(reals_, at::cat(values));
}

StepAccumulator::Totals StepAccumulator::finish(std::int64_t num_tokens) {
  SWITCHYARD_CHECK(reals_.defined(), "a step without micro-steps");
  communicator_.all_reduce_sum(reals_, "losses");
  const at::Tensor reals = reals_.to(at::kCPU);
  const double* real = reals.const_data_ptr<double>();
  Totals totals{.lm_loss_sum = *real++, .layers = {}, .named = {}};
  if (layers_.empty()) return totals;
  const at::Tensor integers = integers_.to(at::kCPU);
  const std::int64_t* integer = integers.const_data_ptr<std::int64_t>();
  for (const Layer& layer : layers_) {
    telemetry::LayerSums sums{.layer = layer.layer, .num_tokens = num_tokens};
    sums.count_E.assign(integer, integer + layer.num_experts);
    integer += layer.num_experts;
    sums.k_histogram_E1.assign(integer, integer + layer.num_experts + 1);
    integer += layer.num_experts + 1;
    sums.entropy_sum = *real++;
    sums.losses.load_balance = *real++;
    sums.losses.dynamic = *real++;
    sums.losses.z = *real++;
    sums.losses.l1 = *real++;
    sums.weighted_l1 = layer.l1_coefficient * sums.losses.l1;
    totals.layers.push_back(std::move(sums));
    NamedSums named;
    for (const auto& [name, count] : layer.named) {
      named[name].assign(real, real + count);
      real += count;
    }
    totals.named.push_back(std::move(named));
  }
  return totals;
}

}  // namespace switchyard::train
