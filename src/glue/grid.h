// A grid of runs before the first of them: what it starts from, its rows, and that nothing which
// can be known by now stands against it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "glue/prepared_task.h"
#include "glue/start.h"
#include "switchyard/config/config.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {

struct Grid {
  FinetuneOptions options;
  Start start;
  std::vector<PreparedTask> tasks;
};

// Reads all files, and checks for every task that the schedule fits the steps that it will take.
// Throws as open_start(), prepare_task() and prepare_custom_task() do, and UsageError naming the
// tasks that are too short. Writes nothing.
[[nodiscard]] Grid open_grid(const FinetuneOptions& options, std::int64_t num_ranks);

// The run that --baseline names, fine-tuned as `grid` is, in a folder below its output. Throws as
// open_grid() does.
[[nodiscard]] Grid open_baseline_grid(const Grid& grid, std::int64_t num_ranks);

// Where the runs of a task with one learning rate are: in a folder of their own where dev chooses
// the rate.
[[nodiscard]] std::filesystem::path folder_of_rate(const Grid& grid, const PreparedTask& prepared,
                                                   double learning_rate);
// All that may be tried; the one where nothing is chosen.
[[nodiscard]] std::vector<double> learning_rates_of(const Start& start);

// Of all seeds with all learning rates.
[[nodiscard]] std::vector<config::Config> possible_runs(const Grid& grid,
                                                        const PreparedTask& prepared);

}  // namespace switchyard::glue
