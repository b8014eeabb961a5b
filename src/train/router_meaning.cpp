#include "switchyard/train/router_meaning.h"

#include "switchyard/config/router.h"

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

}  // namespace switchyard::train
