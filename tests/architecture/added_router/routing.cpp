// How the toy router routes, as src/routing/<name>.cpp is for others: no kernel of its own.
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "architecture/added_router/toy.h"
#include "routing/linear_router.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/route_chosen.h"

namespace switchyard::routing {
namespace {

constexpr double kSkipped = 0.2;  // share of tokens that, while training, get no expert

class ToyRouter final : public LinearRouter {
 public:
  ToyRouter(const config::ToyOptions& options, const RouterBuild& build)
      : LinearRouter(build, /*renormalize=*/false),
        max_experts_(options.max_experts.value_or(build.num_experts)),
        ceiling_(static_cast<float>(options.ceiling)),
        level_(static_cast<float>(options.floor)) {}

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    const at::Tensor logits_TE = logits(input.x_TH);
    const at::Tensor probs_TE = at::softmax(logits_TE, 1);
    const double level = static_cast<double>(level_) / static_cast<double>(probs_TE.size(1));
    const at::Tensor last_T1 =
        std::get<0>(at::topk(probs_TE.detach(), max_experts_)).narrow(1, max_experts_ - 1, 1);
    at::Tensor chosen_TE = probs_TE.detach().ge(last_T1.clamp_min(level));
    if (input.training) {
      SWITCHYARD_CHECK(input.noise.has_value(), "router '{}' got no noise", weight().name);
      const at::Tensor kept_T1 =
          ops::dropout(at::ones({probs_TE.size(0), 1}, logits_TE.options()),
                       input.noise->token_idx_T, kSkipped, input.noise->place());
      chosen_TE = chosen_TE.logical_and(kept_T1.gt(0.0));
    }
    return result(
        ops::route_chosen({.weight_TE = probs_TE, .chosen_TE = chosen_TE, .logits_TE = logits_TE},
                          input.valid_T, input.sequence_offset_B1));
  }

  [[nodiscard]] RouteResult replay(const RouterInput& input, const RouteResult& first) override {
    const at::Tensor logits_TE = logits(input.x_TH);
    return result(ops::replay_chosen(
        {.weight_TE = at::softmax(logits_TE, 1), .chosen_TE = {}, .logits_TE = logits_TE},
        input.valid_T, input.sequence_offset_B1, {first.routing, first.sums}));
  }

  [[nodiscard]] std::map<std::string, at::Tensor> state() const override {
    return {{"level", at::scalar_tensor(level_, at::kFloat)}};
  }
  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    level_ = state.at("level").item<float>();
  }
  void after_step(const GlobalSums& /*sums*/) override { level_ += (ceiling_ - level_) / 8.0F; }

 private:
  static RouteResult result(ops::RouteOutput output) {
    return {std::move(output.routing), std::move(output.sums)};
  }

  std::int64_t max_experts_;
  float ceiling_;
  float level_;
};

}  // namespace

std::unique_ptr<Router> make_toy(const config::RouterConfig& config, const RouterBuild& build);
std::unique_ptr<Router> make_toy(const config::RouterConfig& config, const RouterBuild& build) {
  return std::make_unique<ToyRouter>(config.options.as<config::ToyOptions>(), build);
}

}  // namespace switchyard::routing
