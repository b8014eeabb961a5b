// top_p (Huang et al., "Harder Task Needs More Experts", ACL 2024): with P sorted descending, a
// token goes to its t = argmin_k (P_1 + ... + P_k >= p) most probable experts, weighted by P. A
// target for the mean of t, and logits normalised by layer, follow DTop-p (arXiv 2512.13996).
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "routing/choice.h"
#include "routing/linear_router.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::routing {
namespace {

// p = from + (p - from) * min(step, steps) / steps.
double warmed_up_p(double p, const config::PWarmup& warmup, std::int64_t step) {
  if (step >= warmup.steps) {
    return p;
  }
  return warmup.from +
         (p - warmup.from) * static_cast<double>(step) / static_cast<double>(warmup.steps);
}

class TopPRouter final : public LinearRouter {
 public:
  TopPRouter(const config::RouterConfig& config, const RouterBuild& build)
      : LinearRouter(build, config.renormalize),
        options_(config.options.as<config::TopPOptions>()),
        renormalize_(config.renormalize) {
    set_p_for(0);
    if (options_.normalize_logits) {
      scale_ = ops::make_parameter({.name = logit_scale_name(build.name),
                                    .shape = {1},
                                    .initializer = ops::Initializer::ones,
                                    .decay = false,
                                    .keep_accumulation_type = true},
                                   build.precision);
    }
  }

  [[nodiscard]] std::vector<ops::Parameter*> parameters() override {
    std::vector<ops::Parameter*> list{&weight()};
    if (scale_) list.push_back(&*scale_);
    return list;
  }

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    ops::TopPOptions options;
    // A finished warm-up routes exactly as no warm-up does: the state is p rounded to fp32.
    options.p = p_ == static_cast<float>(options_.p) ? options_.p : static_cast<double>(p_);
    options.max_experts = options_.max_experts;
    options.renormalize = renormalize_;
    ops::RouteOutput output =
        ops::top_p_route(logits(input.x_TH), input.valid_T, input.sequence_offset_B1, options);
    return {std::move(output.routing), std::move(output.sums)};
  }

  // The p that route() uses: kept as state rather than computed from the step, so that evaluation,
  // generation and a checkpoint on its own route as training did.
  [[nodiscard]] std::map<std::string, at::Tensor> state() const override {
    if (!p_moves()) return {};
    std::map<std::string, at::Tensor> state{{"p", at::scalar_tensor(p_, at::kFloat)}};
    if (has_target()) state.emplace("error_sum", at::scalar_tensor(error_sum_, at::kFloat));
    return state;
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    if (!p_moves()) return;
    const float p = state.at("p").item<float>();
    if (!(p > 0.0F && p <= 1.0F)) {
      throw DataError(
          fmt::format("state 'p' of router '{}' must be in (0, 1], got {}", weight().name, p));
    }
    p_ = p;
    if (has_target()) error_sum_ = state.at("error_sum").item<float>();
  }

  [[nodiscard]] std::map<std::string, double> gauges() const override {
    if (!p_moves()) return {};
    return {{"p", static_cast<double>(p_)}};
  }

  void after_step(const GlobalSums& sums) override {
    if (has_target()) {
      steer(sums);
    } else {
      set_p_for(sums.step + 1);
    }
  }

 protected:
  // With normalize_logits: (l - mean of l) / deviation of l over the experts, times the scale.
  [[nodiscard]] at::Tensor logits(const at::Tensor& x_TH) const override {
    const at::Tensor logits_TE = LinearRouter::logits(x_TH);
    if (!scale_) return logits_TE;
    return at::layer_norm(logits_TE, {logits_TE.size(1)}, {}, {}, kVarianceEps).mul(scale_->value);
  }

 private:
  // For a token whose logits are all the same; theirs are of 0.01 and more.
  static constexpr double kVarianceEps = 1e-6;

  // `...router.weight` -> `...router.logit_scale`
  [[nodiscard]] static std::string logit_scale_name(const std::string& weight_name) {
    return weight_name.substr(0, weight_name.rfind('.')) + ".logit_scale";
  }

  // A function of the step's number alone: after skipped steps p catches up.
  void set_p_for(std::int64_t step) {
    p_ = static_cast<float>(options_.p_warmup ? warmed_up_p(options_.p, *options_.p_warmup, step)
                                              : options_.p);
  }

  [[nodiscard]] bool has_target() const { return options_.target_k > 0.0; }
  [[nodiscard]] bool p_moves() const { return has_target() || options_.p_warmup; }

  // A proportional-integral controller: with a the mean experts per token of the step and
  // e = ln(target / a),
  //   logit(p) = logit(p_start) + Kp e + Ki sum(e).
  // In ratios, since the same gains then do for any number of experts; in logits, since p nears 1
  // as the router grows sure, and the nearer it is the more a step of p itself would change k. At a
  // bound the sum stands still rather than wind up.
  void steer(const GlobalSums& sums) {
    const double mean_k = mean_experts(sums, options_.control);
    if (mean_k == 0.0) return;
    const double error = std::log(options_.target_k / mean_k);
    const double least = logit(kLeastP);
    const double most = logit(kMostP);
    const double sum = static_cast<double>(error_sum_) + error;
    const double wanted = std::clamp(logit(options_.p), least, most) +
                          options_.control_gains[0] * error + options_.control_gains[1] * sum;
    const bool winds_up = (wanted >= most && error > 0.0) || (wanted <= least && error < 0.0);
    if (!winds_up) error_sum_ = static_cast<float>(sum);
    p_ = static_cast<float>(1.0 / (1.0 + std::exp(-std::clamp(wanted, least, most))));
  }

  static constexpr double kLeastP = 1e-3;  // one expert per token, whatever E is
  static constexpr double kMostP = 1.0 - 1e-4;
  static double logit(double p) { return std::log(p) - std::log1p(-p); }

  config::TopPOptions options_;
  bool renormalize_;
  std::optional<ops::Parameter> scale_;  // [1]
  float p_ = 0.0F;
  float error_sum_ = 0.0F;
};

}  // namespace

std::unique_ptr<Router> make_top_p(const config::RouterConfig& config, const RouterBuild& build) {
  const auto check_p = [](double p, const char* key) {
    if (!(p > 0.0 && p <= 1.0)) {
      throw UsageError(fmt::format("model.moe.router.{} must be in (0, 1], got {}", key, p));
    }
  };
  const auto& options = config.options.as<config::TopPOptions>();
  check_p(options.p, "p");
  if (options.p_warmup) {
    check_p(options.p_warmup->from, "p_warmup.from");
    if (options.p_warmup->steps < 0) {
      throw UsageError(fmt::format("model.moe.router.p_warmup.steps must be at least 0, got {}",
                                   options.p_warmup->steps));
    }
  }
  if (options.target_k != 0.0 &&
      !(options.target_k >= 1.0 && options.target_k <= static_cast<double>(build.num_experts) &&
        !options.p_warmup && options.control_gains.size() == 2 &&
        (options.control == "model" || options.control == "layer"))) {
    throw UsageError(fmt::format(
        "model.moe.router.target_k must be 0 or in 1..{} (the experts), without p_warmup, got {}",
        build.num_experts, options.target_k));
  }
  if (options.max_experts &&
      (*options.max_experts < 1 || *options.max_experts > build.num_experts)) {
    throw UsageError(
        fmt::format("model.moe.router.max_experts must be in 1..{} (the experts), got {}",
                    build.num_experts, *options.max_experts));
  }
  return std::make_unique<TopPRouter>(config, build);
}

}  // namespace switchyard::routing
