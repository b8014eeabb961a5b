// relu (Wang et al., "ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing", ICLR
// 2025): a token goes to every expert whose logit is above 0, weighted by the logit. How many that
// are is left to an L1 loss of the weights,
//   lambda E / (k T^2) sum_e n_e sum_t w_te,
// which makes the weights of full experts dearer, with k the target. After every step lambda is
// multiplied by a factor when tokens got more experts than that in the mean, divided when fewer; as
// in the paper the mean is of all layers, which share the budget as the language model wants.
#include <ATen/ops/relu.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "routing/choice.h"
#include "routing/linear_router.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/route_chosen.h"

namespace switchyard::routing {
namespace {

constexpr const char* kStateName = "l1_coefficient";
// Far beyond what has an effect; where the way back takes a hundred steps or so.
constexpr float kLeast = 1e-12F;
constexpr float kMost = 1e4F;

class ReluRouter final : public LinearRouter {
 public:
  ReluRouter(const config::ReluOptions& options, const RouterBuild& build)
      : LinearRouter(build, /*renormalize=*/false),
        options_(options),
        coefficient_(static_cast<float>(options.l1_start)) {}

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    const at::Tensor logits_TE = without_padding(logits(input.x_TH), input.valid_T);
    const at::Tensor weight_TE = at::relu(logits_TE);
    const ChosenWeights chosen = with_lost_tokens(
        {.chosen_TE = logits_TE.detach().gt(0.0), .weight_TE = weight_TE}, logits_TE);
    ops::RouteOutput output = ops::route_chosen(
        {.weight_TE = chosen.weight_TE, .chosen_TE = chosen.chosen_TE, .logits_TE = logits_TE},
        input.valid_T, input.sequence_offset_B1);
    output.sums.weight_sum_E = weight_TE.sum(0);
    output.sums.l1_coefficient = static_cast<double>(coefficient_) / options_.target_k;
    return {std::move(output.routing), std::move(output.sums)};
  }

  [[nodiscard]] RouteResult replay(const RouterInput& input, const RouteResult& first) override {
    const at::Tensor logits_TE = without_padding(logits(input.x_TH), input.valid_T);
    const at::Tensor weight_TE = at::relu(logits_TE);
    ops::RouteOutput output =
        ops::replay_chosen({.weight_TE = weight_TE, .chosen_TE = {}, .logits_TE = logits_TE},
                           input.valid_T, input.sequence_offset_B1, {first.routing, first.sums});
    // The first pass's value with this pass's gradient.
    const at::Tensor sum_E = weight_TE.sum(0);
    output.sums.weight_sum_E = sum_E.sub(sum_E.detach()).add(first.sums.weight_sum_E.detach());
    return {std::move(output.routing), std::move(output.sums)};
  }

  [[nodiscard]] std::map<std::string, at::Tensor> state() const override {
    return {{kStateName, at::scalar_tensor(coefficient_, at::kFloat)}};
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    const float coefficient = state.at(kStateName).item<float>();
    if (!(coefficient > 0.0F)) {
      throw DataError(fmt::format("state '{}' of router '{}' must be above 0, got {}", kStateName,
                                  weight().name, coefficient));
    }
    coefficient_ = coefficient;
  }

  [[nodiscard]] std::map<std::string, double> gauges() const override {
    return {{"l1_coefficient", static_cast<double>(coefficient_)}};
  }

  void after_step(const GlobalSums& sums) override {
    if (sums.num_tokens == 0) return;
    const double mean_k = mean_experts(sums, options_.control);
    const auto factor = static_cast<float>(options_.l1_factor);
    if (mean_k > options_.target_k) coefficient_ *= factor;
    if (mean_k < options_.target_k) coefficient_ /= factor;
    coefficient_ = std::clamp(coefficient_, kLeast, kMost);
  }

 private:
  config::ReluOptions options_;
  float coefficient_;
};

}  // namespace

std::unique_ptr<Router> make_relu(const config::RouterConfig& config, const RouterBuild& build) {
  const auto& options = config.options.as<config::ReluOptions>();
  check_target_k(options.target_k, build.num_experts);
  if (options.control != "model" && options.control != "layer") {
    throw UsageError(
        fmt::format("model.moe.router.control must be model or layer, got '{}'", options.control));
  }
  if (!(options.l1_start > 0.0 && options.l1_factor > 1.0)) {
    throw UsageError(
        fmt::format("model.moe.router needs l1_start above 0 and l1_factor above 1, got {} and {}",
                    options.l1_start, options.l1_factor));
  }
  return std::make_unique<ReluRouter>(options, build);
}

}  // namespace switchyard::routing
