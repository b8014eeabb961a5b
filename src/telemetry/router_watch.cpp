#include "switchyard/telemetry/router_watch.h"

#include <fmt/format.h>

#include <vector>

#include "switchyard/config/field_table.h"
#include "switchyard/config/router.h"

namespace switchyard::telemetry {
namespace {

constexpr double kNearlyAll = 0.98;
constexpr double kNothing = 1e-6;

std::string advice(const config::RouterConfig& router) {
  std::vector<std::string> ways;
  if (router.renormalize) ways.emplace_back("model.moe.router.renormalize=false");
  constexpr const char* kTarget = "model.moe.router.target_k";
  // One that is held already, or p_warmup, which goes with none, shows as state.
  const bool has_target = !config::descriptor_of(router).state(router, true).empty();
  if (config::find_field(kTarget)->known_to(router.type) && !has_target) {
    ways.push_back(fmt::format("{}=2, which holds the mean number of experts", kTarget));
  }
  ways.emplace_back("a lower model.moe.loss.dynamic");
  return fmt::format("{}", fmt::join(ways, "; or "));
}

}  // namespace

bool RouterWatch::is_lost(std::int64_t layer, const Layer& window) const {
  const auto share_of = [&window](std::int64_t num_tokens) {
    return static_cast<double>(num_tokens) / static_cast<double>(window.num_tokens);
  };
  if (share_of(window.num_with_none) >= kNearlyAll) return true;
  if (share_of(window.num_with_none + window.num_with_one) < kNearlyAll) return false;
  return model_.router_at(layer).renormalize || window.router_norm < kNothing * window.model_norm;
}

std::optional<std::string> RouterWatch::add(const StepSums& sums) {
  if (sums.skipped) return std::nullopt;
  std::vector<std::int64_t> lost;
  for (const LayerSums& step : sums.layers) {
    if (step.num_tokens == 0 || step.k_histogram_E1.size() < 2) continue;
    Layer& window = layers_[step.layer];
    window.num_tokens += step.num_tokens;
    window.num_with_none += step.k_histogram_E1[0];
    window.num_with_one += step.k_histogram_E1[1];
    window.router_norm += step.router_grad_norm;
    window.model_norm += sums.grad_norm;
    if (++window.num_steps < kWindow) continue;
    if (is_lost(step.layer, window) && told_.insert(step.layer).second) lost.push_back(step.layer);
    window = {};
  }
  if (lost.empty()) return std::nullopt;
  const config::RouterConfig& router = model_.router_at(lost.front());
  return fmt::format(
      "layer{} {}: nearly all tokens have at most one expert, {}: the language model no longer "
      "teaches the "
      "router which one; try {}",
      lost.size() == 1 ? "" : "s", fmt::join(lost, ", "),
      router.renormalize ? "whose weight is then the constant 1"
                         : "and the router's gradient is next to nothing",
      advice(router));
}

}  // namespace switchyard::telemetry
