// A comparison as a picture: one curve per run.
#pragma once

#include <span>
#include <string>

#include "switchyard/compare/compare.h"

namespace switchyard::compare {

[[nodiscard]] std::string comparison_svg(std::span<const ComparedRun> runs);

}  // namespace switchyard::compare
