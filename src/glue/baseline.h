// The model that a grid is compared with: the same tasks, fine-tuned earlier or on the way.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "switchyard/glue/results.h"

namespace switchyard::glue {

// By name of the task and key of the metric: the median over seeds.
using Medians = std::map<std::string, std::map<std::string, double>>;

inline constexpr const char* kTableName = "results.json";

[[nodiscard]] Medians medians_of(const std::vector<TaskResult>& results);
// Of results.json in the output folder of an earlier `finetune`; `tasks` are those that have to be
// there. Throws DataError naming the file when it is damaged, UsageError for a task that it lacks.
[[nodiscard]] Medians read_medians(const std::filesystem::path& output,
                                   const std::vector<std::string>& tasks);

}  // namespace switchyard::glue
