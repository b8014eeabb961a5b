// May a router take over the state of another one?
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::train {

// The same type, with options under which its state means what it meant.
[[nodiscard]] bool means_the_same(const config::RouterConfig& before,
                                  const config::RouterConfig& after);

// Of a layer, for take_over_router_state; both must outlive it.
[[nodiscard]] std::function<bool(std::int64_t layer)> routers_that_mean_the_same(
    const config::ModelConfig& before, const config::ModelConfig& after);

// MoE layers of `after` whose router keeps a state and cannot take over that of `before`: it begins
// afresh. Ascending.
[[nodiscard]] std::vector<std::int64_t> fresh_routers(const config::ModelConfig& before,
                                                      const config::ModelConfig& after);
// Says of which layers it begins afresh, if any; a warning where train.freeze_router keeps it from
// ever getting anywhere.
void tell_of_fresh_routers(const std::vector<std::int64_t>& layers, bool are_frozen);

}  // namespace switchyard::train
