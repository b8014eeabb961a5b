#include "switchyard/optim/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::optim {

AdamW::AdamW(std::vector<ops::Parameter*> parameters, const config::OptimConfig& config)
    : config_(config), parameters_(std::move(parameters)) {
  SWITCHYARD_CHECK(config_.betas.size() == 2, "optim.betas holds {} numbers, expected 2",
                   config_.betas.size());
  Group decayed{.members = {}, .weight_decay = config_.weight_decay};
  Group plain{.members = {}, .weight_decay = 0.0};
  for (std::size_t idx = 0; idx < parameters_.size(); ++idx) {
    const at::Tensor& master = parameters_[idx]->master;
    moments_.push_back(
        {.first = at::zeros_like(master, at::TensorOptions().requires_grad(false)),
         .second = at::zeros_like(master, at::TensorOptions().requires_grad(false))});
    (parameters_[idx]->decay ? decayed : plain).members.push_back(idx);
  }
  for (Group* group : {&decayed, &plain}) {
    if (!group->members.empty()) groups_.push_back(std::move(*group));
  }
}

void AdamW::step(double learning_rate) {
  if (parameters_.empty()) return;
  const at::NoGradGuard no_grad;
  ++num_updates_;
  // The fused operator wants the count as an fp32 tensor: exact up to 2^24 updates, and past that
  // the bias corrections have long been 1.
  const at::Tensor update_count =
      at::full({}, static_cast<double>(num_updates_),
               parameters_.front()->master.options().dtype(at::kFloat).requires_grad(false));
  for (const Group& group : groups_) step_group(group, learning_rate, update_count);
  for (ops::Parameter* parameter : parameters_) ops::publish(*parameter);
}

void AdamW::step_group(const Group& group, double learning_rate, const at::Tensor& update_count) {
  std::vector<at::Tensor> masters;
  std::vector<at::Tensor> grads;
  std::vector<at::Tensor> firsts;
  std::vector<at::Tensor> seconds;
  for (const std::size_t idx : group.members) {
    ops::Parameter& parameter = *parameters_[idx];
    SWITCHYARD_CHECK(parameter.grad.defined(), "{} has no gradient buffer", parameter.name);
    masters.push_back(parameter.master);
    grads.push_back(parameter.grad);
    firsts.push_back(moments_[idx].first);
    seconds.push_back(moments_[idx].second);
  }
  const std::vector<at::Tensor> counts(masters.size(), update_count);
  at::_fused_adamw_(masters, grads, firsts, seconds, /*max_exp_avg_sqs=*/{}, counts, learning_rate,
                    config_.betas[0], config_.betas[1], group.weight_decay, config_.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace switchyard::optim
