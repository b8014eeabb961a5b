// Where a run's data are. A config may spell their folders relative to the working folder of the
// command that started the run; runs are resumed from other folders, and moved. So the run's folder
// remembers where they were.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

inline constexpr const char* kDataFoldersName = "data_folders.yaml";

// The folders of `data` in their order, as they are spelled there: one, or those of a blend.
[[nodiscard]] std::vector<std::string> data_folders_in(const DataConfig& data);

// The text of that file for the run in `run`: for every folder of `data`, as it is spelled there,
// its absolute path and its path from the run's folder. A link stays the link that it is.
[[nodiscard]] std::string data_folders_yaml(const DataConfig& data,
                                            const std::filesystem::path& run);

// Where the data that is spelled so was when the run in `run` last started: by absolute path, then
// as far from the run's folder as it was. Empty when the run does not remember it.
[[nodiscard]] std::vector<std::filesystem::path> remembered_places(
    const std::string& spelling, const std::filesystem::path& run);

// Every folder of `data` where no prepared data is becomes the first place that the run in `run`
// remembers for its spelling and that holds some; without one it stays. Only names are looked at:
// whether it is the data that the run was trained on, its fingerprint tells later.
void find_moved_data(DataConfig& data, const std::filesystem::path& run);

}  // namespace switchyard::config
