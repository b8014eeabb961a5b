// top_p (Huang et al., "Harder Task Needs More Experts", ACL 2024): with P sorted descending, a
// token goes to its t = argmin_k (P_1 + ... + P_k >= p) most probable experts, weighted by P.
#include <ATen/ops/scalar_tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

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
    if (!options_.p_warmup) {
      return {};
    }
    return {{"p", at::scalar_tensor(p_, at::kFloat)}};
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    if (!options_.p_warmup) {
      return;
    }
    const float p = state.at("p").item<float>();
    if (!(p > 0.0F && p <= 1.0F)) {
      throw DataError(
          fmt::format("state 'p' of router '{}' must be in (0, 1], got {}", weight().name, p));
    }
    p_ = p;
  }

  void after_step(const GlobalSums& sums) override { set_p_for(sums.step + 1); }

 private:
  // A function of the step's number alone: after skipped steps p catches up.
  void set_p_for(std::int64_t step) {
    p_ = static_cast<float>(options_.p_warmup ? warmed_up_p(options_.p, *options_.p_warmup, step)
                                              : options_.p);
  }

  config::TopPOptions options_;
  bool renormalize_;
  float p_ = 0.0F;
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
  if (options.max_experts &&
      (*options.max_experts < 1 || *options.max_experts > build.num_experts)) {
    throw UsageError(
        fmt::format("model.moe.router.max_experts must be in 1..{} (the experts), got {}",
                    build.num_experts, *options.max_experts));
  }
  return std::make_unique<TopPRouter>(config, build);
}

}  // namespace switchyard::routing
