// The temperature of a checkpoint (inference/calibrate.h): calibration.json in a step's folder, put
// there after the step was saved, so that its manifest does not know it. Evaluations and generation
// go by it, training does not: a run that goes on from the checkpoint goes on as if it had none.
#pragma once

#include <filesystem>

namespace switchyard::checkpoint {

[[nodiscard]] bool has_temperature(const std::filesystem::path& step_folder);
// 1 where there is none. Throws DataError for a file that does not say one, StorageError where
// nobody can tell.
[[nodiscard]] double temperature_of(const std::filesystem::path& step_folder);
// Replaces what is there. Throws StorageError.
void keep_temperature(const std::filesystem::path& step_folder, double temperature);

}  // namespace switchyard::checkpoint
