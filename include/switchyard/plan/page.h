// A plan as text.
#pragma once

#include <string>

#include "switchyard/plan/plan.h"

namespace switchyard::plan {

// For a terminal, at most 100 columns.
[[nodiscard]] std::string plan_page(const Plan& plan);

}  // namespace switchyard::plan
