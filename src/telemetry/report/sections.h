// The figures of a page, by section.
#pragma once

#include <optional>
#include <string>

#include "switchyard/telemetry/read_metrics.h"

namespace switchyard::telemetry {

// HTML of the figures; `planned_steps`: where the axes end, if it is known.
[[nodiscard]] std::string learning_figures(const Metrics& metrics,
                                           std::optional<std::int64_t> planned_steps);
// Empty for a model without MoE layers.
[[nodiscard]] std::string expert_figures(const Metrics& metrics,
                                         std::optional<std::int64_t> planned_steps);
// Do harder tokens get more experts? Empty where no evaluation says so.
[[nodiscard]] std::string difficulty_figures(const Metrics& metrics,
                                             std::optional<std::int64_t> planned_steps);
[[nodiscard]] std::string speed_figures(const Metrics& metrics,
                                        std::optional<std::int64_t> planned_steps);

}  // namespace switchyard::telemetry
