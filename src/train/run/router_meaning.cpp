#include "train/run/router_meaning.h"

#include "switchyard/config/router.h"

namespace switchyard::train {

bool means_the_same(const config::RouterConfig& before, const config::RouterConfig& after) {
  if (before.type != after.type) return false;
  const auto meaning = config::descriptor_of(after).state_meaning;
  return meaning == nullptr || meaning(before) == meaning(after);
}

}  // namespace switchyard::train
