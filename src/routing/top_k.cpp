// top_k: every token goes to its k most probable experts. With `bias_rate`, a bias of each expert
// is added to the probabilities for the choice alone (Wang et al., "Auxiliary-Loss-Free Load
// Balancing Strategy for Mixture-of-Experts", arXiv 2408.15664) and moved after every step by the
// sign of what the expert's load lacks of the mean.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "routing/choice.h"
#include "routing/linear_router.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/route_chosen.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::routing {
namespace {

class TopKRouter final : public LinearRouter {
 public:
  TopKRouter(const ops::TopKOptions& options, const RouterBuild& build)
      : LinearRouter(build, options.renormalize), options_(options) {}

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    ops::RouteOutput output =
        ops::top_k_route(logits(input.x_TH), input.valid_T, input.sequence_offset_B1, options_);
    return {std::move(output.routing), std::move(output.sums)};
  }

 private:
  ops::TopKOptions options_;
};

class BiasedTopKRouter final : public LinearRouter {
 public:
  BiasedTopKRouter(const ops::TopKOptions& options, double bias_rate, const RouterBuild& build)
      : LinearRouter(build, options.renormalize),
        options_(options),
        bias_rate_(bias_rate),
        bias_E_(at::zeros({build.num_experts}, at::kFloat)) {}

  // The weights are what top_k's would be of these experts, so a replay has their gradients.
  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    return replay(input, choose(input));
  }

  [[nodiscard]] std::map<std::string, at::Tensor> state() const override {
    return {{kStateName, bias_E_.host()}};
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    bias_E_.set(state.at(kStateName).clone());
  }

  // How far the biases are apart: probabilities that much smaller may be chosen.
  [[nodiscard]] std::map<std::string, double> gauges() const override {
    return {
        {"bias_range", bias_E_.host().max().item<double>() - bias_E_.host().min().item<double>()}};
  }

  void after_step(const GlobalSums& sums) override {
    const std::int64_t num_rows =
        std::accumulate(sums.count_E.begin(), sums.count_E.end(), std::int64_t{0});
    if (num_rows == 0) return;
    const auto num_experts = static_cast<std::int64_t>(sums.count_E.size());
    SWITCHYARD_CHECK(num_experts == bias_E_.host().numel(),
                     "router '{}' got the load of {} experts", weight().name, num_experts);
    at::Tensor moved_E = bias_E_.host().to(at::kDouble);
    auto* bias = moved_E.mutable_data_ptr<double>();
    double mean = 0.0;
    bool is_even = true;
    for (std::int64_t expert = 0; expert < num_experts; ++expert) {
      // In whole numbers: an even load leaves the biases alone, to the bit.
      const std::int64_t lacks =
          num_rows - num_experts * sums.count_E[static_cast<std::size_t>(expert)];
      bias[expert] += bias_rate_ * static_cast<double>((lacks > 0) - (lacks < 0));
      is_even = is_even && lacks == 0;
      mean += bias[expert] / static_cast<double>(num_experts);
    }
    if (is_even) return;
    // What all have in common chooses nobody, and would only cost digits.
    bias_E_.set(moved_E.sub(mean).to(at::kFloat));
  }

 private:
  static constexpr const char* kStateName = "bias";

  [[nodiscard]] RouteResult choose(const RouterInput& input) const {
    const at::NoGradGuard no_grad;
    const at::Tensor logits_TE = logits(input.x_TH);
    const at::Tensor probs_TE = at::softmax(logits_TE, 1);
    const at::Tensor& bias_E = bias_E_.as(probs_TE.options());
    ChosenWeights chosen{.chosen_TE = k_largest(probs_TE.add(bias_E), options_.k),
                         .weight_TE = probs_TE};
    if (options_.renormalize) {
      chosen.weight_TE = probs_TE.div(probs_TE.mul(chosen.chosen_TE).sum(1, /*keepdim=*/true));
    }
    chosen = with_lost_tokens(chosen, logits_TE);
    ops::RouteOutput output = ops::route_chosen(
        {.weight_TE = chosen.weight_TE, .chosen_TE = chosen.chosen_TE, .logits_TE = logits_TE},
        input.valid_T, input.sequence_offset_B1);
    return {std::move(output.routing), std::move(output.sums)};
  }

  ops::TopKOptions options_;
  double bias_rate_;
  StateTensor bias_E_;  // fp32
};

}  // namespace

std::unique_ptr<Router> make_top_k(const config::RouterConfig& config, const RouterBuild& build) {
  const auto& given = config.options.as<config::TopKOptions>();
  if (given.k < 1 || given.k > build.num_experts) {
    throw UsageError(fmt::format("model.moe.router.k must be in 1..{} (the experts), got {}",
                                 build.num_experts, given.k));
  }
  if (given.k == 1 && config.renormalize) {
    throw UsageError(
        "model.moe.router.renormalize cannot be true with k: 1: every weight would be the "
        "constant 1 and the router would get no gradient",
        "set model.moe.router.renormalize=false or k to 2 or more");
  }
  if (!(given.bias_rate >= 0.0 && given.bias_rate <= 1.0)) {
    throw UsageError(
        fmt::format("model.moe.router.bias_rate must be in [0, 1], got {}", given.bias_rate));
  }
  ops::TopKOptions options;
  options.k = given.k;
  options.renormalize = config.renormalize;
  if (given.bias_rate > 0.0) {
    return std::make_unique<BiasedTopKRouter>(options, given.bias_rate, build);
  }
  return std::make_unique<TopKRouter>(options, build);
}

}  // namespace switchyard::routing
