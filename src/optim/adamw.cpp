#include "switchyard/optim/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <tuple>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/ops/one_thread.h"

namespace switchyard::optim {
std::vector<Slice> whole(const std::vector<ops::Parameter*>& parameters) {
  std::vector<Slice> slices;
  slices.reserve(parameters.size());
  for (ops::Parameter* parameter : parameters) {
    slices.push_back({.parameter = parameter, .begin = 0, .count = parameter->numel()});
  }
  return slices;
}

at::Tensor Slice::gradient() const {
  if (grad.defined()) return grad;
  SWITCHYARD_CHECK(parameter->grad.defined(), "{} has no gradient buffer", parameter->name);
  return parameter->grad.view({-1}).narrow(0, begin, count);
}

at::Tensor Slice::master() const {
  return parameter->master.detach().view({-1}).narrow(0, begin, count);
}

AdamW::AdamW(std::vector<Slice> slices, const config::OptimConfig& config)
    : config_(config), slices_(std::move(slices)) {
  SWITCHYARD_CHECK(config_.betas.size() == 2, "optim.betas holds {} numbers, expected 2",
                   config_.betas.size());
  constexpr std::int64_t kSmall = 16384;  // numbers: some ten microseconds of one thread
  std::map<std::tuple<bool, double, bool>, Group> groups;
  for (std::size_t idx = 0; idx < slices_.size(); ++idx) {
    const at::Tensor master = slices_[idx].master();
    moments_.push_back({.first = at::zeros_like(master), .second = at::zeros_like(master)});
    const bool decays = slices_[idx].parameter->decay;
    const bool is_small = master.is_cpu() && slices_[idx].count <= kSmall;
    Group& group = groups[{decays, slices_[idx].learning_rate_scale, is_small}];
    group.members.push_back(idx);
    group.weight_decay = decays ? config_.weight_decay : 0.0;
    group.learning_rate_scale = slices_[idx].learning_rate_scale;
    group.is_small = is_small;
  }
  for (auto& [key, group] : groups) groups_.push_back(std::move(group));
}

void AdamW::update(double learning_rate) {
  ++num_updates_;
  if (slices_.empty()) return;
  const at::NoGradGuard no_grad;
  // The fused operator wants the count as an fp32 tensor: exact up to 2^24 updates, and past that
  // the bias corrections have long been 1.
  const at::Tensor update_count = at::full({}, static_cast<double>(num_updates_),
                                           moments_.front().first.options().dtype(at::kFloat));
  for (const Group& group : groups_) step_group(group, learning_rate, update_count);
}

void AdamW::step(double learning_rate) {
  update(learning_rate);
  for (const Slice& slice : slices_) ops::publish(*slice.parameter);
}

void AdamW::step_group(const Group& group, double learning_rate, const at::Tensor& update_count) {
  std::vector<at::Tensor> masters;
  std::vector<at::Tensor> grads;
  std::vector<at::Tensor> firsts;
  std::vector<at::Tensor> seconds;
  for (const std::size_t idx : group.members) {
    masters.push_back(slices_[idx].master());
    grads.push_back(slices_[idx].gradient());
    firsts.push_back(moments_[idx].first);
    seconds.push_back(moments_[idx].second);
  }
  const std::vector<at::Tensor> counts(masters.size(), update_count);
  const ops::OneThread alone(group.is_small);
  at::_fused_adamw_(masters, grads, firsts, seconds, /*max_exp_avg_sqs=*/{}, counts,
                    learning_rate * group.learning_rate_scale, config_.betas[0], config_.betas[1],
                    group.weight_decay, config_.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace switchyard::optim
