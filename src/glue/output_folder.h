// The folder that holds a grid's runs: what they start from and which rows they see is noted there,
// so that no table mixes runs that are not alike.
#pragma once

#include <filesystem>
#include <span>

#include "glue/prepared_task.h"
#include "glue/start.h"

namespace switchyard::glue {

// Makes the folder or goes on in it. Throws UsageError when it holds runs that started from another
// checkpoint, or runs of one of the tasks with other training or dev rows; StorageError.
void claim_output(const std::filesystem::path& output, const Start& start,
                  std::span<const PreparedTask> tasks);

}  // namespace switchyard::glue
