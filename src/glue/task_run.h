// The runs of one task: a learning rate is chosen where there are several, then every seed trains.
#pragma once

#include "glue/grid.h"
#include "glue/seed_run.h"
#include "switchyard/glue/results.h"

namespace switchyard::glue {

// With the files of a submission where the grid's options want them. Where no learning rate comes
// to anything, the result has no seeds, and the leader has said so. A collective. Throws as
// run_seed() does.
[[nodiscard]] TaskResult run_task(const SeedRun& run, const Grid& grid);

}  // namespace switchyard::glue
