// A comparison as Markdown: keys that differ, results, losses at equal training.
#pragma once

#include <span>
#include <string>

#include "switchyard/compare/compare.h"

namespace switchyard::compare {

[[nodiscard]] std::string comparison_markdown(std::span<const ComparedRun> runs);

}  // namespace switchyard::compare
