#include "switchyard/train/router_meaning.h"

#include <fmt/format.h>

#include <string>

#include "switchyard/config/router.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"

namespace switchyard::train {

bool means_the_same(const config::RouterConfig& before, const config::RouterConfig& after) {
  if (before.type != after.type) return false;
  const auto meaning = config::descriptor_of(after).state_meaning;
  return meaning == nullptr || meaning(before) == meaning(after);
}

std::function<bool(std::int64_t)> routers_that_mean_the_same(const config::ModelConfig& before,
                                                             const config::ModelConfig& after) {
  return [&before, &after](std::int64_t layer) {
    return means_the_same(before.router_at(layer), after.router_at(layer));
  };
}

std::vector<std::int64_t> fresh_routers(const config::ModelConfig& before,
                                        const config::ModelConfig& after) {
  const auto names_of = [](const config::RouterConfig& router, bool causal) {
    const auto state = config::descriptor_of(router).state;
    return state == nullptr ? std::vector<std::string>() : state(router, causal);
  };
  std::vector<std::int64_t> fresh;
  for (const std::int64_t layer : after.moe.layers) {
    const auto names = names_of(after.router_at(layer), after.is_causal());
    if (names.empty()) continue;
    const config::RouterConfig& old = before.router_at(layer);
    const bool takes_over =
        means_the_same(old, after.router_at(layer)) && names_of(old, before.is_causal()) == names;
    if (!takes_over) fresh.push_back(layer);
  }
  return fresh;
}

void tell_of_fresh_routers(const std::vector<std::int64_t>& layers, bool are_frozen) {
  if (layers.empty()) return;
  std::vector<std::string> numbers;
  for (const std::int64_t layer : layers) numbers.push_back(fmt::format("{}", layer));
  const std::string which = fmt::format("the router{} of layer{} {}", layers.size() == 1 ? "" : "s",
                                        layers.size() == 1 ? "" : "s", join(numbers, ", "));
  if (!are_frozen) {
    log::info("{}: other options than in the checkpoint, so that the state begins afresh", which);
    return;
  }
  log::warning(
      "{}: other options than in the checkpoint, so that the state (such as the p that "
      "target_k has found) begins afresh, and with train.freeze_router=true it stays "
      "there; leave model.moe.router.* as it was, or the routers free",
      which);
}

}  // namespace switchyard::train
