// The folder that holds a grid's runs: what they start from and which rows they see is noted there,
// so that no table mixes runs that are not alike.
#pragma once

#include <cstdint>

#include "glue/grid.h"

namespace switchyard::glue {

// May the grid be made, or go on, in its output folder? Throws UsageError when that holds runs
// which started from another checkpoint, runs of one of the tasks with other training or dev rows
// or other settings, or is a run, a checkpoint or a data set itself. Writes nothing.
void check_output(const Grid& grid, std::int64_t num_ranks);

// Makes the folder and notes in it what its runs start from and see. Throws StorageError.
void claim_output(const Grid& grid);

}  // namespace switchyard::glue
