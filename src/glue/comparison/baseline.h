// The model that a grid is compared with: the same tasks, fine-tuned earlier or on the way.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "glue/prepared_task.h"
#include "switchyard/glue/figures.h"
#include "switchyard/glue/results.h"

namespace switchyard::glue {

using Baseline = std::map<std::string, TaskFigures>;  // by the name of the task

[[nodiscard]] Baseline baseline_of(const std::vector<TaskResult>& results);
// Of results.json in the output folder of an earlier `finetune`; each of `tasks` has to be there,
// judged on the rows that it has here. Throws as read_figures() does, and UsageError for a task
// that it lacks or that was judged on other rows.
[[nodiscard]] Baseline read_baseline(const std::filesystem::path& output,
                                     std::span<const PreparedTask> tasks);

// What to know of a baseline beside its figures, a sentence each: seeds of it that diverged, and
// other conditions than those of the results that it stands beside.
[[nodiscard]] std::vector<std::string> notes_on_baseline(const TaskResult& result);

}  // namespace switchyard::glue
