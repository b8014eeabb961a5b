#include "switchyard/train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <chrono>
#include <cmath>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/ops/op_span.h"
#include "train/layer_rates.h"
#include "train/out_of_memory.h"
#include "train/phase.h"
#include "train/prefetcher.h"
#include "train/step_accumulator.h"

namespace switchyard::train {
namespace {

using telemetry::StepSums;

bool is_finite(const StepSums& sums) {
  bool finite = std::isfinite(sums.lm_loss) && std::isfinite(sums.grad_norm);
  for (const telemetry::LayerSums& layer : sums.layers) {
    const telemetry::LossTerms& losses = layer.losses;
    finite = finite && std::isfinite(losses.load_balance) && std::isfinite(losses.dynamic) &&
             std::isfinite(losses.z) && std::isfinite(losses.l1);
  }
  return finite;
}

at::Tensor weighted_sum(const routing::LossShares& shares, const config::MoeLossConfig& loss,
                        double l1_coefficient) {
  at::Tensor sum;
  const auto add = [&sum](const at::Tensor& share, double coefficient) {
    if (coefficient == 0.0) return;  // nothing to differentiate
    const at::Tensor term = share.mul(coefficient);
    sum = sum.defined() ? sum.add(term) : term;
  };
  add(shares.load_balance, loss.load_balance);
  add(shares.dynamic, loss.dynamic);
  add(shares.z, loss.z);
  add(shares.l1, l1_coefficient);
  return sum;
}

std::map<const ops::Parameter*, std::int64_t> layers_of_router_weights(
    const std::map<std::int64_t, routing::Router*>& routers) {
  std::map<const ops::Parameter*, std::int64_t> layers;
  for (const auto& [layer, router] : routers) layers[&router->weight()] = layer;
  return layers;
}

std::set<const ops::Parameter*> frozen_parameters(
    const config::Config& config, const std::map<std::int64_t, routing::Router*>& routers) {
  std::set<const ops::Parameter*> frozen;
  if (!config.train.freeze_router) return frozen;
  for (const auto& [layer, router] : routers) {
    for (const ops::Parameter* parameter : router->parameters()) frozen.insert(parameter);
  }
  return frozen;
}

}  // namespace

Trainer::Trainer(const config::Config& config, model::Model& model, Objective& objective,
                 parallel::RankGroups& groups)
    : config_(config),
      objective_(objective),
      device_(model.device()),
      communicator_(groups.world()),
      parameters_(model.parameters()),
      routers_(model.routers()),
      gradients_(parameters_, groups, config.parallel.shard_optimizer),
      layer_of_router_weight_(layers_of_router_weights(routers_)),
      frozen_(frozen_parameters(config, routers_)),
      optimizer_(slices(), config.optim),
      schedule_(config.schedule, config.optim.learning_rate, config.train.steps),
      device_phases_(device_, phases_) {
  prefetcher_ = std::make_unique<Prefetcher>([this](std::int64_t first) { return fetch(first); },
                                             config.train.global_batch_size,
                                             /*ahead=*/!device_.is_cpu());
  const std::int64_t micro_step = config.train.micro_batch_size * communicator_.size();
  if (config.train.global_batch_size % micro_step != 0) {
    throw UsageError(
        fmt::format("train.global_batch_size ({}) is not a multiple of train.micro_batch_size ({}) "
                    "times {} rank(s)",
                    config.train.global_batch_size, config.train.micro_batch_size,
                    communicator_.size()),
        "choose a micro-batch size that divides it");
  }
}

TrainerState Trainer::state() const {
  TrainerState state = state_;
  state.num_updates = optimizer_.num_updates();
  return state;
}

void Trainer::restore(const TrainerState& state) {
  state_ = state;
  optimizer_.set_num_updates(state.num_updates);
}

StepSums Trainer::train_step() {
  const TrainerState before = state_;
  try {
    StepSums sums = compute_step();
    experts_per_token_ = telemetry::experts_per_token(sums);
    return sums;
  } catch (const std::exception& error) {
    const std::int64_t step = state_.step;
    if (is_between_steps_) state_ = before;
    explain_out_of_memory(error, config_, step, experts_per_token_);
    throw;
  }
}

StepSums Trainer::compute_step() {
  const auto start = std::chrono::steady_clock::now();
  StepSums sums;
  sums.step = ++state_.step;
  sums.learning_rate = schedule_.learning_rate(state_.step);

  // 1 fetch: all micro-batches, so that every denominator is known.
  std::vector<model::MicroBatch> micro_batches;
  Denominators step;
  {
    const Phase phase(device_phases_, "fetch");
    micro_batches = prefetcher_->take(state_.next_window);
    state_.next_window += config_.train.global_batch_size;
    step = count(micro_batches);
    for (ops::Parameter* parameter : parameters_) ops::zero_grad(*parameter);
  }
  sums.num_tokens = step.num_tokens;

  StepAccumulator accumulator(communicator_);
  for (std::size_t m = 0; m < micro_batches.size(); ++m) {
    if (step.num_tokens_of_micro_step[m] == 0) continue;  // on no rank: the epoch ended before it
    at::Tensor objective;
    // 2 forward
    {
      const Phase phase(device_phases_, "forward");
      objective =
          objective_share(micro_batches[m], step.num_tokens_of_micro_step[m], step, accumulator);
    }
    // 3 backward
    {
      const Phase phase(device_phases_, "backward");
      if (m + 1 == micro_batches.size()) gradients_.begin_last_backward();
      objective.backward();
      for (ops::Parameter* parameter : parameters_) ops::collect_grad(*parameter);
    }
  }

  // 4 reduce gradients
  StepAccumulator::Totals totals;
  {
    const Phase phase(device_phases_, "reduce_gradients");
    gradients_.reduce();
    drop_frozen_gradients();
    totals = accumulator.finish(step.num_tokens);
  }
  sums.lm_loss = totals.lm_loss_sum / static_cast<double>(step.num_labels);
  sums.layers = std::move(totals.layers);
  for (telemetry::LayerSums& layer : sums.layers) {
    layer.gauges = routers_.at(layer.layer)->gauges();
  }

  // 5 check finite and clip
  {
    const Phase phase(device_phases_, "clip");
    note_norms(sums, gradients_.norms());
    device_phases_.add_finished();  // the host has waited for the norm, and all before it
    sums.skipped = !is_finite(sums);
    if (!sums.skipped) gradients_.clip(sums.grad_norm, config_.optim.clip_norm);
  }

  // 6 update
  {
    const Phase phase(device_phases_, "update");
    state_.num_skipped_in_a_row = sums.skipped ? state_.num_skipped_in_a_row + 1 : 0;
    is_between_steps_ = false;
    if (!sums.skipped) update(sums, totals.named);
    is_between_steps_ = true;
  }
  sums.seconds = seconds_since(start);
  return sums;
}

Trainer::~Trainer() = default;

std::vector<optim::Slice> Trainer::slices() const {
  std::vector<optim::Slice> slices = gradients_.slices();
  for (optim::Slice& slice : slices) {
    slice.learning_rate_scale = learning_rate_scale(slice.parameter->name, config_.model.num_layers,
                                                    config_.optim.layer_decay);
    if (frozen_.contains(slice.parameter)) slice.learning_rate_scale = 0.0;
  }
  return slices;
}

// So that they count in no norm; what moments a router has from before moves nothing at a rate of
// 0.
void Trainer::drop_frozen_gradients() const {
  const at::NoGradGuard no_grad;
  for (const optim::Slice& slice : optimizer_.slices()) {
    if (frozen_.contains(slice.parameter)) (void)slice.gradient().zero_();
  }
}

std::vector<model::MicroBatch> Trainer::fetch(std::int64_t first_sample) const {
  const std::int64_t per_rank = config_.train.micro_batch_size;
  const std::int64_t per_micro_step = per_rank * communicator_.size();
  const std::int64_t global = config_.train.global_batch_size;
  std::vector<model::MicroBatch> micro_batches;
  for (std::int64_t first = communicator_.rank() * per_rank; first < global;
       first += per_micro_step) {
    model::MicroBatch micro = objective_.micro_batch(first_sample + first, per_rank, first);
    micro.batch = model::to_device(micro.batch, device_);
    micro_batches.push_back(std::move(micro));
  }
  return micro_batches;
}

Trainer::Denominators Trainer::count(const std::vector<model::MicroBatch>& micro_batches) {
  std::vector<std::int64_t> local{0, 0};
  for (const model::MicroBatch& micro : micro_batches) {
    local[0] += micro.num_labels;
    local[1] += micro.num_tokens;
    local.push_back(micro.num_tokens);
  }
  at::Tensor counts = at::tensor(local, at::kLong);
  communicator_.all_reduce_sum(counts, "token counts");
  const std::int64_t* count = counts.const_data_ptr<std::int64_t>();
  return {.num_labels = std::max<std::int64_t>(1, count[0]),
          .num_tokens = count[1],
          .num_tokens_of_micro_step = {count + 2, count + counts.numel()}};
}

at::Tensor Trainer::objective_share(const model::MicroBatch& micro, std::int64_t num_tokens_global,
                                    const Denominators& step, StepAccumulator& sums) {
  // Models count steps from 0.
  const Objective::Result output =
      objective_.forward(micro, {.step = state_.step - 1,
                                 .training = true,
                                 .seed = config_.run.seed,
                                 .recompute = config_.train.recompute});
  at::Tensor objective = output.loss_sum.div(static_cast<double>(step.num_labels));

  const ops::OpSpan span("routing_statistics");
  const std::vector<at::Tensor> count_E = sums.reduce_counts(output.routes);
  std::vector<routing::LossShares> shares;
  for (std::size_t i = 0; i < output.routes.size(); ++i) {
    shares.push_back(routing::loss_shares(output.routes[i].sums,
                                          {.count_E = count_E[i], .num_tokens = num_tokens_global},
                                          step.num_tokens, config_.model.moe.loss));
    const at::Tensor weighted =
        weighted_sum(shares.back(), config_.model.moe.loss, output.routes[i].sums.l1_coefficient);
    if (weighted.defined()) objective = objective.add(weighted);
  }
  sums.add_losses(output.loss_sum, output.routes, shares);
  return objective;
}

void Trainer::note_norms(StepSums& sums, const optim::GradNorms& norms) const {
  sums.grad_norm = norms.total;
  std::map<std::int64_t, double> of_router;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto found = layer_of_router_weight_.find(parameters_[i]);
    if (found != layer_of_router_weight_.end()) of_router[found->second] = norms.of_parameter[i];
  }
  for (telemetry::LayerSums& layer : sums.layers) {
    layer.router_grad_norm = of_router.at(layer.layer);
  }
}

void Trainer::update(const StepSums& sums, const std::vector<NamedSums>& named) {
  optimizer_.update(sums.learning_rate);
  gradients_.gather_masters();
  for (ops::Parameter* parameter : parameters_) ops::publish(*parameter);
  if (config_.train.freeze_router) return;
  const double model_experts_per_token = telemetry::experts_per_token(sums);
  for (std::size_t i = 0; i < sums.layers.size(); ++i) {
    routers_.at(sums.layers[i].layer)
        ->after_step({.step = state_.step - 1,
                      .num_tokens = sums.num_tokens,
                      .count_E = sums.layers[i].count_E,
                      .model_experts_per_token = model_experts_per_token,
                      .named = named[i]});
  }
}

}  // namespace switchyard::train
