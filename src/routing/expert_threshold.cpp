// expert_threshold (Sun et al., "Expert Threshold Routing for Autoregressive Language Modeling with
// Dynamic Computation Allocation and Load Balancing", arXiv 2603.11535): a token goes to every
// expert at which its logit exceeds the expert's threshold. A threshold is a running mean of the
// step's r-th largest logit there, r = ceil(target_k T / E) with the T tokens of all ranks: what an
// expert that chose its r best tokens would ask for, known without looking at other tokens. Ours:
// the weight is the sigmoid of the logit, since experts decide by themselves; the running mean
// forgets faster in the first steps; and while thresholds fill a token gets its best experts.
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "routing/choice.h"
#include "routing/linear_router.h"
#include "routing/logit_histogram.h"
#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/route_chosen.h"

namespace switchyard::routing {
namespace {

constexpr const char* kSumName = "logit_histogram";

class ExpertThresholdRouter final : public LinearRouter {
 public:
  ExpertThresholdRouter(const config::ExpertThresholdOptions& options, const RouterBuild& build)
      : LinearRouter(build, /*renormalize=*/false),
        options_(options),
        threshold_E_(at::zeros({build.num_experts}, at::kFloat)) {}

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    const at::Tensor logits_TE = without_padding(logits(input.x_TH), input.valid_T);
    const ChosenWeights chosen = with_lost_tokens(
        {.chosen_TE = choose(logits_TE), .weight_TE = at::sigmoid(logits_TE)}, logits_TE);
    ops::RouteOutput output = ops::route_chosen(
        {.weight_TE = chosen.weight_TE, .chosen_TE = chosen.chosen_TE, .logits_TE = logits_TE},
        input.valid_T, input.sequence_offset_B1);
    if (input.training) {
      output.sums.named[kSumName] = logit_histogram(logits_TE, input.valid_T);
    }
    return {std::move(output.routing), std::move(output.sums)};
  }

  [[nodiscard]] RouteResult replay(const RouterInput& input, const RouteResult& first) override {
    const at::Tensor logits_TE = without_padding(logits(input.x_TH), input.valid_T);
    ops::RouteOutput output = ops::replay_chosen(
        {.weight_TE = at::sigmoid(logits_TE), .chosen_TE = {}, .logits_TE = logits_TE},
        input.valid_T, input.sequence_offset_B1, {first.routing, first.sums});
    return {std::move(output.routing), std::move(output.sums)};
  }

  [[nodiscard]] std::map<std::string, at::Tensor> state() const override {
    return {{"num_updates", at::scalar_tensor(num_updates_, at::kFloat)},
            {"threshold", threshold_E_.host()}};
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    const float num_updates = state.at("num_updates").item<float>();
    if (!(num_updates >= 0.0F)) {
      throw DataError(fmt::format("state 'num_updates' of router '{}' must be at least 0, got {}",
                                  weight().name, num_updates));
    }
    num_updates_ = num_updates;
    threshold_E_.set(state.at("threshold").clone());
  }

  [[nodiscard]] std::map<std::string, double> gauges() const override {
    return {{"threshold", threshold_E_.host().mean().item<double>()}};
  }

  void after_step(const GlobalSums& sums) override {
    if (sums.num_tokens == 0) return;
    const std::int64_t num_experts = threshold_E_.host().numel();
    const auto found = sums.named.find(kSumName);
    SWITCHYARD_CHECK(
        found != sums.named.end() && std::ssize(found->second) == num_experts * kLogitBins,
        "router '{}' got no {} of {} experts", weight().name, kSumName, num_experts);
    const double rank = std::ceil(options_.target_k * static_cast<double>(sums.num_tokens) /
                                  static_cast<double>(num_experts));
    const double decay = decay_now();
    at::Tensor moved_E = threshold_E_.host().clone();
    auto* threshold = moved_E.mutable_data_ptr<float>();
    for (std::int64_t expert = 0; expert < num_experts; ++expert) {
      const double now = largest_logit(found->second.data() + expert * kLogitBins, rank);
      threshold[expert] =
          static_cast<float>(decay * static_cast<double>(threshold[expert]) + (1.0 - decay) * now);
    }
    threshold_E_.set(std::move(moved_E));
    num_updates_ += 1.0F;
  }

 private:
  [[nodiscard]] at::Tensor choose(const at::Tensor& logits_TE) const {
    if (static_cast<double>(num_updates_) < static_cast<double>(options_.threshold_warmup)) {
      return k_largest(logits_TE, options_.num_warmup_experts());
    }
    return logits_TE.detach().gt(threshold_E_.as(logits_TE.options()));
  }

  // The first steps weigh about the same; they would otherwise have to be forgotten first.
  [[nodiscard]] double decay_now() const {
    const auto n = static_cast<double>(num_updates_);
    return n == 0.0 ? 0.0 : std::min(options_.threshold_decay, (1.0 + n) / (10.0 + n));
  }

  config::ExpertThresholdOptions options_;
  float num_updates_ = 0.0F;
  StateTensor threshold_E_;  // fp32
};

}  // namespace

std::unique_ptr<Router> make_expert_threshold(const config::RouterConfig& config,
                                              const RouterBuild& build) {
  const auto& options = config.options.as<config::ExpertThresholdOptions>();
  check_target_k(options.target_k, build.num_experts);
  if (!(options.threshold_decay >= 0.0 && options.threshold_decay < 1.0 &&
        options.threshold_warmup >= 1)) {
    throw UsageError(
        fmt::format("model.moe.router needs threshold_decay in [0, 1) and threshold_warmup of at "
                    "least 1, got {} and {}",
                    options.threshold_decay, options.threshold_warmup));
  }
  return std::make_unique<ExpertThresholdRouter>(options, build);
}

}  // namespace switchyard::routing
