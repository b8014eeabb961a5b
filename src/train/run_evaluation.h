// One evaluation of a run, whatever its task evaluates.
#pragma once

#include <functional>
#include <optional>

#include "switchyard/train/task.h"

namespace switchyard::train {

using Evaluate =
    std::function<std::optional<telemetry::EvaluationRecord>(const EvaluationOptions& options)>;

// With a progress bar for people (`is_shown`), where it can go away again, and with the step and
// the seconds it took in its record.
[[nodiscard]] std::optional<telemetry::EvaluationRecord> run_evaluation(const Evaluate& evaluate,
                                                                        EvaluationOptions options,
                                                                        bool is_shown);

}  // namespace switchyard::train
