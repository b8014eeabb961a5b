#include "switchyard/plan/plan.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "switchyard/config/folders.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/train/build.h"

namespace switchyard::plan {
namespace {

using config::RouterConfig;

config::RouterExpectation expect(const RouterConfig& router, std::int64_t num_experts) {
  return config::descriptor_of(router).experts_per_token(router, num_experts);
}

ExpertsPerToken suppose(const config::ModelConfig& model, std::string name,
                        const std::function<double(std::int64_t layer)>& k_of_layer) {
  ExpertsPerToken supposed{.name = std::move(name),
                           .k_L = std::vector<double>(static_cast<std::size_t>(model.num_layers))};
  for (const std::int64_t layer : model.moe.layers) {
    supposed.k_L[static_cast<std::size_t>(layer)] = k_of_layer(layer);
    supposed.mean += k_of_layer(layer);
  }
  if (!model.moe.layers.empty()) supposed.mean /= static_cast<double>(model.moe.layers.size());
  return supposed;
}

std::string reason_to_expect(const config::ModelConfig& model) {
  if (!model.moe.router_of_layer.empty()) return "mean over layers with different routers";
  return expect(model.moe.router, model.moe.num_experts).reason;
}

// Of the first layer whose router starts elsewhere than it is expected to go.
std::string reason_of_untrained(const config::ModelConfig& model) {
  for (const std::int64_t layer : model.moe.layers) {
    std::string reason = expect(model.router_at(layer), model.moe.num_experts).untrained_reason;
    if (!reason.empty()) return reason;
  }
  return {};
}

std::int64_t largest_divisor(std::int64_t number, std::int64_t at_most) {
  for (std::int64_t divisor = std::min(number, at_most); divisor > 1; --divisor) {
    if (number % divisor == 0) return divisor;
  }
  return std::min<std::int64_t>(1, at_most);
}

std::optional<double> seconds_of(const Plan& plan, const PlannedUse& use) {
  const PlanOptions& options = plan.options;
  if (options.tokens_per_second) return plan.tokens / *options.tokens_per_second;
  if (!options.peak_flops) return std::nullopt;
  // Computing a block again is a third of forward and backward, which MFU does not count.
  const double recomputed = plan.config.train.recompute ? 4.0 / 3.0 : 1.0;
  return plan.tokens * use.flops_per_token * recomputed / (*options.peak_flops * options.flop_use);
}

PlannedUse plan_use(const Plan& plan, const TrainingMemory& memory, ExpertsPerToken experts) {
  const config::TrainConfig& train = plan.config.train;
  PlannedUse use{.experts = std::move(experts)};
  use.used_parameters = plan.parameters.activated(use.experts.mean);
  use.flops_per_token = model::pretraining_flops(plan.config).per_token(use.experts.mean);
  for (const bool recompute : {false, true}) {
    for (const Device device : {Device::cpu, Device::gpu}) {
      const MemorySetting setting{.micro_batch_size = train.micro_batch_size,
                                  .recompute = recompute,
                                  .device = device,
                                  .experts_per_token_L = use.experts.k_L};
      PlannedUse::OnDevice& on =
          use.by_device.at(recompute ? 1 : 0).at(static_cast<std::size_t>(device));
      on.memory = memory.use(setting);
      // A GPU's memory holds a context instead, whose size is not known here.
      const double beside =
          device == Device::cpu ? plan.options.program_bytes + plan.save_copy_bytes : 0.0;
      on.total = beside + plan.state.total() + on.memory.total();
      if (!plan.options.fits_bytes) continue;
      const std::int64_t largest = memory.largest_micro_batch(
          setting, *plan.options.fits_bytes - beside, train.global_batch_size);
      on.fitting =
          Fitting{.largest = largest, .usable = largest_divisor(train.global_batch_size, largest)};
    }
  }
  use.seconds = seconds_of(plan, use);
  return use;
}

}  // namespace

std::vector<ExpertsPerToken> suppose_experts_per_token(const config::ModelConfig& model,
                                                       std::optional<double> given) {
  const config::MoeConfig& moe = model.moe;
  if (given && moe.layers.empty()) {
    throw UsageError("--experts-per-token: the model has no experts", "leave it out");
  }
  if (moe.layers.empty()) return {};
  const auto of_router = [&model](double config::RouterExpectation::*number) {
    return [&model, number](std::int64_t layer) {
      return expect(model.router_at(layer), model.moe.num_experts).*number;
    };
  };
  ExpertsPerToken worst =
      suppose(model, "worst case", of_router(&config::RouterExpectation::worst));
  worst.reason = "every token takes all it may";
  const double most = *std::max_element(worst.k_L.begin(), worst.k_L.end());
  if (given && *given > most) {
    throw UsageError(
        fmt::format("--experts-per-token: the router gives a token at most {:g}, got {:g}", most,
                    *given),
        "look at the options under model.moe.router");
  }
  std::vector<ExpertsPerToken> all;
  if (given) {
    all.push_back(suppose(model, "expected", [&](std::int64_t /*layer*/) { return *given; }));
    all.back().reason = "as given";
  } else {
    all.push_back(suppose(model, "expected", of_router(&config::RouterExpectation::expected)));
    all.back().reason = reason_to_expect(model);
    all.push_back(suppose(model, "untrained", of_router(&config::RouterExpectation::untrained)));
    all.back().reason = reason_of_untrained(model);
  }
  all.push_back(std::move(worst));
  all.erase(std::unique(
                all.begin(), all.end(),
                [](const ExpertsPerToken& a, const ExpertsPerToken& b) { return a.k_L == b.k_L; }),
            all.end());
  return all;
}

Plan make_plan(const config::Config& config, const PlanOptions& options) {
  Plan plan{.config = config, .options = options};
  config::ModelConfig& model = plan.config.model;
  if (config::holds_prepared_data(config.data)) {
    const data::SampleSource training(train::windows_of(config), config.run.seed);
    train::fill_vocab_size(plan.config, training.tokenizer());
    plan.windows_per_epoch = training.num_samples_per_epoch();
  } else if (model.vocab_size == 0) {
    throw UsageError("the vocabulary size is the tokenizer's, and the data is not there yet",
                     "prepare the data first, or add model.vocab_size=N");
  }
  const TrainingMemory memory(plan.config, options.num_threads);
  plan.parameters = model::count_parameters(model);
  plan.state = memory.state();
  plan.experts_state = memory.experts_state();
  plan.dense_flops_per_token = model::pretraining_flops(plan.config).per_token(0.0);
  plan.experts_on_cpu = memory.experts_on(Device::cpu);
  plan.experts_on_gpu = memory.experts_on(Device::gpu);
  const config::TrainConfig& train = plan.config.train;
  plan.tokens_per_step = static_cast<double>(train.global_batch_size) *
                         static_cast<double>(config.data.sequence_length);
  plan.tokens = plan.tokens_per_step * static_cast<double>(train.steps);
  // Masters and both moments, all in the accumulation type; the gradients have its size.
  plan.checkpoint_bytes = plan.state.gradients + plan.state.moments;
  if (train.async_save) plan.save_copy_bytes = plan.checkpoint_bytes;
  // The oldest goes only when a newer one's weights have been used; the next may be written before.
  plan.num_checkpoints = std::max<std::int64_t>(1, train.keep_last) + (train.keep_best ? 1 : 0) + 2;
  std::vector<ExpertsPerToken> supposed =
      suppose_experts_per_token(model, options.experts_per_token);
  if (supposed.empty()) {
    supposed.push_back(suppose(model, "dense", [](std::int64_t /*layer*/) { return 0.0; }));
  }
  for (ExpertsPerToken& experts : supposed) {
    plan.uses.push_back(plan_use(plan, memory, std::move(experts)));
  }
  return plan;
}

}  // namespace switchyard::plan
