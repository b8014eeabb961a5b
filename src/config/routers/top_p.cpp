#include "switchyard/config/routers/top_p.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "config/fields/fields.h"
#include "config/routers/target_k.h"
#include "switchyard/config/router.h"

namespace switchyard::config {
namespace {

std::vector<Field> options() {
  return {{.key = "p",
           .access = SWITCHYARD_ROUTER_OPTION(TopPOptions, p),
           .default_text = "0.4",
           .range = {.minimum = 0, .maximum = 1, .minimum_open = true},
           .unit = "probability",
           .help = "take the most probable experts until their probabilities sum to p; 1 = all",
           .displaces = {"target_k"}},
          {.key = "max_experts",
           .access = SWITCHYARD_ROUTER_OPTION(TopPOptions, max_experts),
           .default_text = "none",
           .range = between(1, 65536),
           .unit = "experts per token",
           .help = "upper bound per token, against the many experts of early training"},
          {.key = "p_warmup",
           .access = SWITCHYARD_ROUTER_OPTION(TopPOptions, p_warmup),
           .default_text = "none",
           .unit = "probability, steps",
           .help = "{from: 1, steps: 500}: move p linearly from `from` (in (0, 1], default 1) in "
                   "`steps` steps",
           .displaces = {"target_k"}},
          target_k_field(SWITCHYARD_ROUTER_OPTION(TopPOptions, target_k)),
          control_field(SWITCHYARD_ROUTER_OPTION(TopPOptions, control)),
          {.key = "control_gains",
           .access = SWITCHYARD_ROUTER_OPTION(TopPOptions, control_gains),
           .default_text = "[0.25, 0.5]",
           .range = {.minimum = 0},
           .unit = "logits of p",
           .help = "how far a mean that is e times too small moves p: while it is, and for good "
                   "each step"},
          {.key = "normalize_logits",
           .access = SWITCHYARD_ROUTER_OPTION(TopPOptions, normalize_logits),
           .default_text = "false",
           .help = "standardise a token's logits over the experts and multiply them by a learned "
                   "scale of the layer, so that one p suits every layer"}};
}

void check(const RouterConfig& router, const RouterCheck& rules) {
  const auto& options = router.options.as<TopPOptions>();
  if (options.max_experts) rules.require_at_most_experts(*options.max_experts, "max_experts");
  rules.require(!options.p_warmup || options.p_warmup->steps > 0, "p_warmup", "p_warmup",
                "steps is required");
  rules.require(options.max_experts != 1 || !router.renormalize, "renormalize", "max_experts",
                "with one expert per token every weight would be the constant 1, and the router "
                "would get no gradient; set renormalize: false");
  rules.require(options.control_gains.size() == 2, "control_gains", "control_gains",
                "expected two numbers");
  if (options.target_k == 0.0) return;
  rules.require(options.target_k >= 1.0, "target_k", "target_k",
                "top_p gives every token at least one expert");
  rules.require(!options.p_warmup, "target_k", "p_warmup",
                "target_k moves p, and so does p_warmup: keep one (target_k: 0, p_warmup: none)");
  const std::int64_t most = options.max_experts.value_or(rules.num_experts);
  rules.require(
      options.target_k <= static_cast<double>(most), "target_k",
      options.max_experts ? "max_experts" : "target_k",
      fmt::format("must be at most {} {}, got {}",
                  options.max_experts ? "max_experts" : "num_experts", most, options.target_k));
}

std::vector<IgnoredOption> ignored(const RouterConfig& router) {
  const auto& options = router.options.as<TopPOptions>();
  const TopPOptions plain;
  std::vector<IgnoredOption> found;
  if (options.target_k != 0.0) return found;
  const char* const reason = "p is moved only where target_k is set";
  if (options.control != plain.control) found.push_back({"control", reason});
  if (options.control_gains != plain.control_gains) found.push_back({"control_gains", reason});
  return found;
}

std::vector<std::string> state(const RouterConfig& router, bool /*causal*/) {
  const auto& options = router.options.as<TopPOptions>();
  if (options.target_k > 0.0) return {"error_sum", "p"};
  if (options.p_warmup) return {"p"};
  return {};
}

// The sum of errors is of one target, counts from one p and moves it by one gain.
std::string state_meaning(const RouterConfig& router) {
  const auto& options = router.options.as<TopPOptions>();
  if (options.target_k == 0.0) return "p";
  return fmt::format("p from {} for {} of the {}, by {} a step", options.p, options.target_k,
                     options.control, options.control_gains.at(1));
}

std::optional<double> model_budget(const RouterConfig& router) {
  const auto& options = router.options.as<TopPOptions>();
  if (options.target_k == 0.0 || options.control != "model") return std::nullopt;
  return options.target_k;
}

// normalize_logits keeps the raw logits and the standardised ones, and their means and deviations.
RouterKeeps keeps(const RouterConfig& router) {
  if (!router.options.as<TopPOptions>().normalize_logits) return {};
  return {.matrices = 2, .vectors = 2};
}

// x with P(normal variable < x) = share.
double normal_quantile(double share) {
  double low = -10.0;
  double high = 10.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2.0;
    (std::erfc(-middle / std::sqrt(2.0)) / 2.0 < share ? low : high) = middle;
  }
  return low;
}

// Experts of a token whose E logits are spread as normal variables of deviation 1 are, as those of
// an untrained router that standardises them.
double normal_experts(double p, std::int64_t num_experts) {
  const auto num = static_cast<double>(num_experts);
  std::vector<double> exponential;
  for (std::int64_t i = 0; i < num_experts; ++i) {  // the largest first
    exponential.push_back(std::exp(normal_quantile((num - static_cast<double>(i) - 0.5) / num)));
  }
  const double wanted = p * std::reduce(exponential.begin(), exponential.end());
  double reached = 0.0;
  std::int64_t k = 0;
  while (k < num_experts && reached < wanted) reached += exponential[static_cast<std::size_t>(k++)];
  return static_cast<double>(std::max<std::int64_t>(1, k));
}

// An untrained router is near uniform, so a token gets ceil(p E) experts, fewer where logits are
// standardised; training drives that toward 1. Between them the expectation is an assumption:
// docs/architecture.md.
RouterExpectation experts_per_token(const RouterConfig& router, std::int64_t num_experts) {
  const auto& options = router.options.as<TopPOptions>();
  const auto worst = static_cast<double>(options.max_experts.value_or(num_experts));
  // The rounding of p E must not add an expert.
  const auto untrained = [&](double p) {
    const double k = options.normalize_logits && p < 1.0
                         ? normal_experts(p, num_experts)
                         : std::ceil(p * static_cast<double>(num_experts) - 1e-9);
    return std::clamp(k, 1.0, worst);
  };
  const std::string first_steps = options.normalize_logits
                                      ? "the first steps: top_p over standardised logits"
                                      : "the first steps: top_p over nearly equal probabilities";
  const double before = options.p_warmup ? std::max(options.p, options.p_warmup->from) : options.p;
  if (options.target_k > 0.0) {
    return {.expected = options.target_k,
            .untrained = std::max(options.target_k, untrained(options.p)),
            .worst = worst,
            .reason = "target_k, which p is moved to keep",
            .untrained_reason = first_steps};
  }
  const bool takes_all = options.p >= 1.0;
  return {.expected = takes_all ? worst : std::sqrt(untrained(options.p)),
          .untrained = untrained(before),
          .worst = worst,
          .reason = takes_all
                        ? "top_p with p = 1 takes all it may"
                        : "assumed: geometric mean of untrained and 1, which training drives it to",
          .untrained_reason = options.normalize_logits ? first_steps : first_steps + ", ceil(p E)"};
}

std::string to_need_less_memory(const RouterConfig& router) {
  if (router.options.as<TopPOptions>().max_experts) return {};
  return "a bound in model.moe.router.max_experts";
}

}  // namespace

const RouterDescriptor& top_p_router() {
  static const RouterDescriptor descriptor{.name = std::string(TopPOptions::kType),
                                           .options = options(),
                                           .default_options = RouterOptions(TopPOptions{}),
                                           .renormalize = false,
                                           .losses = {.dynamic = "1e-4", .normalize = "tokens"},
                                           .check = &check,
                                           .ignored = &ignored,
                                           .state = &state,
                                           .state_meaning = &state_meaning,
                                           .experts_per_token = &experts_per_token,
                                           .keeps = &keeps,
                                           .model_budget = &model_budget,
                                           .to_need_less_memory = &to_need_less_memory};
  return descriptor;
}

}  // namespace switchyard::config
