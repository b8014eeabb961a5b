// May a router take over the state of another one?
#pragma once

#include "switchyard/config/router_config.h"

namespace switchyard::train {

// The same type, with options under which its state means what it meant.
[[nodiscard]] bool means_the_same(const config::RouterConfig& before,
                                  const config::RouterConfig& after);

}  // namespace switchyard::train
