// What kind of folder is this? Told from file names alone, without opening anything.
#pragma once

#include <filesystem>
#include <string>

#include "switchyard/config/load.h"

namespace switchyard::config {

inline constexpr const char* kPreparedDataName = "data.json";  // written last by `prepare`
inline constexpr const char* kResolvedConfigName = "config.resolved.yaml";
inline constexpr const char* kCheckpointManifestName = "manifest.json";
inline constexpr const char* kCheckpointsFolderName = "checkpoints";

// Written by `prepare`, to the end.
[[nodiscard]] bool holds_prepared_data(const std::filesystem::path& folder);
// Holds a resolved config: a run, finished or not.
[[nodiscard]] bool holds_run(const std::filesystem::path& folder);
[[nodiscard]] bool is_checkpoint(const std::filesystem::path& folder);
// A run with at least one finished checkpoint.
[[nodiscard]] bool holds_run_with_checkpoint(const std::filesystem::path& folder);

// A new run can start: its data is there and its folder is free. Throws ConfigError.
void check_folders_of_run(const Resolved& resolved);
// Only its data. Throws ConfigError.
void check_data_of_run(const Resolved& resolved);

// " (did you mean 'configs/quickstart.yaml'?)" from the names beside a missing path, or empty.
[[nodiscard]] std::string path_suggestion(const std::filesystem::path& missing);

}  // namespace switchyard::config
