// results.json as text, from anyone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/glue/figures.h"

namespace switchyard::glue {

// `file` is for messages. Names of tasks are distinct, seeds of a task too (1000 at most), names
// printable, metrics NaN or from -1 to 1, tokens and FLOPs bounded so that their sums are finite;
// else throws DataError with the place.
[[nodiscard]] std::vector<TaskFigures> parse_figures(std::string_view text,
                                                     const std::string& file);

}  // namespace switchyard::glue
