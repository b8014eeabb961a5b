// One run of a grid: a task, a seed and a learning rate, trained, judged and written down.
#pragma once

#include <cstdint>
#include <filesystem>

#include "glue/fine_tuned.h"
#include "glue/prepared_task.h"
#include "glue/start.h"
#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/glue/results.h"
#include "switchyard/train/stop_signal.h"
#include "train/run/side_work.h"

namespace switchyard::glue {

struct SeedRun {
  const Start& start;
  const PreparedTask& prepared;
  comm::Communicator& world;
  const train::StopSignal& stop;
  train::SideWork& side_work;  // of the grid: what fails beside training costs no later run
};

// The start's settings with what follows from the rows; `folder` will hold the run, seed-N.
[[nodiscard]] config::Config config_of_seed(const Start& start, const PreparedTask& prepared,
                                            const std::filesystem::path& folder,
                                            std::int64_t seed_idx, double learning_rate);

// Is there room for this run, or is it there already, finished or not? Throws UsageError when the
// folder holds a run with other settings, by its number of ranks other micro-steps included, or
// what is no part of a run. Changes nothing.
void check_seed_folder(const config::Config& config, std::int64_t num_ranks);

// The best checkpoint of a finished training, the same one on all ranks. A collective. Throws as
// load_fine_tuned() does.
[[nodiscard]] FineTuned load_best_of_leader(const SeedRun& run, const config::Config& config);

// Trains in a new folder, goes on where it was stopped, or reads what was finished. A run whose
// loss or weights stop being finite is a result that says so. A collective. Throws UsageError when
// the folder's run was made with other settings, DataError when with other rows.
[[nodiscard]] SeedResult run_seed(const SeedRun& run, const config::Config& config);

}  // namespace switchyard::glue
