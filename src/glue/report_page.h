// report.html of a grid: one page over its tasks, in the style of a run's.
#pragma once

#include <string>
#include <vector>

#include "switchyard/glue/results.h"

namespace switchyard::glue {

// Seeds beside majority, baseline and references by task and metric; experts per token by task and
// layer against the layer's mean over tasks; what diverged or says one class only. Complete in
// itself, without network or scripts.
[[nodiscard]] std::string report_page(const std::string& title,
                                      const std::vector<TaskResult>& results);

}  // namespace switchyard::glue
