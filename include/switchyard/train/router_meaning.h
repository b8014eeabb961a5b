// May a router take over the state of another one?
#pragma once

#include <cstdint>
#include <functional>

#include "switchyard/config/config.h"

namespace switchyard::train {

// The same type, with options under which its state means what it meant.
[[nodiscard]] bool means_the_same(const config::RouterConfig& before,
                                  const config::RouterConfig& after);

// Of a layer, for take_over_router_state; both must outlive it.
[[nodiscard]] std::function<bool(std::int64_t layer)> routers_that_mean_the_same(
    const config::ModelConfig& before, const config::ModelConfig& after);

}  // namespace switchyard::train
